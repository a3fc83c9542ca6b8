"""The cluster that a gateway belongs to, and its store."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Unpack

from pydantic import AfterValidator, Field, SecretStr, model_validator

from pylae.config.document.nodes import Step
from pylae.config.models.address import server_of
from pylae.config.models.base import Settings, refusal
from pylae.config.models.tls import ServiceTls, Texts
from pylae.config.origin import Origin, PlanPart
from pylae.units import Duration, between

if TYPE_CHECKING:
    from pylae.settings.fields import ClusterFields

_HINT = (
    "write valkey://HOST:PORT, valkey+sentinel://HOST:PORT,HOST:PORT/NAME or valkey+cluster://HOST:PORT,HOST:PORT, "
    "with valkeys in place of valkey for TLS"
)
_SCHEME = re.compile(r"(?:valkey|redis)(?P<tls>s?)(?:\+(?P<kind>sentinel|cluster))?")
_PORTS = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_MOST_SERVERS = 16


class StoreUrl(NamedTuple):
    """What the URL of a store says."""

    kind: str
    """`single`, `sentinel` or `cluster`."""
    tls: bool
    servers: tuple[tuple[str, int], ...]
    """Hosts, without brackets, and ports."""
    primary: str | None
    """The name by which Sentinels know the store."""
    database: int


def store_url(text: str) -> StoreUrl:
    """Reads the URL of a store. Raises what `refusal` makes if it is none."""
    scheme, separator, rest = text.strip().partition("://")
    found = _SCHEME.fullmatch(scheme)
    if not separator or not found:
        raise refusal("is not the URL of a store", _HINT, secret="@" in text)
    if "@" in rest:
        raise refusal("must not contain a user or a password", "write `user` and `password` beside it", secret=True)
    kind = found["kind"] or "single"
    authority, _, path = rest.partition("/")
    names = authority.split(",")
    servers = tuple(server_of(name, _PORTS[kind], _HINT) for name in names)
    if kind == "single" and len(servers) > 1:
        raise refusal(
            "has several servers", "several are Sentinels, valkey+sentinel://, or a Cluster, valkey+cluster://"
        )
    if len(servers) > _MOST_SERVERS:
        raise refusal(f"has more than {_MOST_SERVERS} servers", "some are enough: they know the others")
    primary = None
    if kind == "sentinel":
        primary, _, path = path.partition("/")
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", primary):
            raise refusal(
                "needs the name by which the Sentinels know the store", "e.g. valkey+sentinel://HOST:PORT/main"
            )
    if not re.fullmatch(r"[0-9]{0,5}", path):
        raise refusal("ends with something that is not the number of a database", _HINT)
    database = int(path or 0)
    if kind == "cluster" and database:
        raise refusal("a Cluster has no databases but 0", "leave out the number")
    return StoreUrl(kind, bool(found["tls"]), servers, primary, database)


def _url(text: str) -> str:
    store_url(text)
    return text.strip()


def _secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text or len(text) > 512 or "\0" in text:
        raise refusal("must have 1 to 512 characters", secret=True)
    return value


Password = Annotated[SecretStr, AfterValidator(_secret)]
User = Annotated[str, Field(pattern=r"^[^\s\x00]{1,128}$")]


class Cluster(Settings):
    """Several gateways, the *nodes*, that share limits through a *store*: a Valkey or Redis server, several behind
    Sentinels, or a Cluster. All nodes have the same `name` and `store`. A change needs a restart.

    Example:
        ```yaml
        cluster:
          name: shop
          store: valkey://127.0.0.1:6379
        ```
    """

    main = ("store",)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    """Name of the cluster. Several clusters with different names can use one store."""
    store: Annotated[str, AfterValidator(_url)]
    """Where the store is: `valkey://host:port` or `valkey://host:port/database` for one server,
    `valkey+sentinel://host:port,host:port/name` for servers behind Sentinels, `valkey+cluster://host:port,host:port`
    for a Cluster. `valkeys` in place of `valkey` means TLS. `redis` and `rediss` mean the same as `valkey` and
    `valkeys`."""
    node: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")] | None = None
    """Name of this node, which no other node should have. The default is the host's name with something unique."""
    user: User | None = None
    """User of the store, as its ACL has it. The default is the user `default`."""
    password: Password | None = None
    """Password of the user."""
    sentinel_user: User | None = None
    """User of the Sentinels, if they have users."""
    sentinel_password: Password | None = None
    """Password of the Sentinels, if they have one."""
    tls: ServiceTls | None = None
    """TLS to the store: whom the gateway trusts, and which certificate it presents. Only with `valkeys`."""
    timeout: Annotated[Duration, between(timedelta(milliseconds=5), timedelta(seconds=10))] = timedelta(milliseconds=50)
    """How long a node waits for an answer of the store. After that, and as long as the store does not answer, each
    limit does what `on_store_error` says."""
    flush: Annotated[Duration, between(timedelta(milliseconds=1), timedelta(seconds=1))] = timedelta(milliseconds=20)
    """How often a node tells the store what limits with `mode: fast` have admitted. More often means fewer requests
    beyond a limit, and more work for the store."""
    on_store_error: Literal["share", "allow", "deny"] = "share"
    """What limits do while the store does not answer. With `share`, each node enforces its share of the limit, that is
    the limit divided by the number of nodes. `allow` admits all requests, `deny` none."""
    wait_replicas: Annotated[int, Field(ge=0, le=16)] = 0
    """Number of replicas of the store that must have what `mode: exact` takes before a request is admitted, so that it
    is not lost if the primary fails. Each such request then waits for them as well."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ClusterFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> Cluster:
        url = store_url(self.store)
        if self.tls is not None and not url.tls:
            raise refusal("`tls` has no effect without TLS", "write valkeys:// in place of valkey:// in `store`")
        if url.kind != "sentinel" and (self.sentinel_user or self.sentinel_password):
            raise refusal("`sentinel_user` and `sentinel_password` have no effect without Sentinels")
        for user, password in (("user", "password"), ("sentinel_user", "sentinel_password")):
            if getattr(self, user) is not None and getattr(self, password) is None:
                raise refusal(f"`{user}` needs `{password}`")
        return self

    def plan(self, texts: Texts, path: tuple[Step, ...]) -> PlanPart:
        """Returns its part of the plan. `path` is its place in the model."""
        url = store_url(self.store)
        tls = (self.tls or ServiceTls()).plan(texts, (*path, "tls")) if url.tls else None
        secrets = {name: _text(getattr(self, name)) for name in ("password", "sentinel_password")}
        plain = self.model_dump(mode="json", exclude={"store", "tls", *secrets})
        parts: dict[str, Any] = {
            **plain,
            **secrets,
            "kind": url.kind,
            "servers": [{"host": host, "port": port} for host, port in url.servers],
            "primary": url.primary,
            "database": url.database,
            "tls": tls and PlanPart(tls, _TLS),
        }
        return PlanPart(parts, _ORIGIN)


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


_TLS = Origin(("tls",), entries={"certificate": Origin(("tls",))})
_STORE = Origin(("store",), whole=True)
_ORIGIN = Origin(("cluster",), entries=dict.fromkeys(("kind", "servers", "primary", "database"), _STORE))
