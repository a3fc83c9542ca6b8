"""Where the store is."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Unpack

from pydantic import AfterValidator, Field, model_validator

from pylae.cluster.settings import Password, User
from pylae.config.document.nodes import Step
from pylae.config.models.address import server_of
from pylae.config.models.base import Positive, Settings, refusal
from pylae.config.models.tls import ServiceTls, Texts
from pylae.units import Duration, between

if TYPE_CHECKING:
    from pylae.settings.fields import StoreSettingsFields

_HINT = (
    "write sqlite, postgresql://HOST:PORT/DATABASE or etcd://HOST:PORT,HOST:PORT, "
    "with +tls after postgresql or etcd for TLS"
)
_SCHEME = re.compile(r"(?P<kind>postgresql|etcd)(?P<tls>\+tls)?")
_PORTS = {"postgresql": 5432, "etcd": 2379}
_MOST_SERVERS = 16
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,47}")
"""Names of schemas that need no quotes, whatever comes before or after them."""
_DATABASE = re.compile(r"[A-Za-z0-9_.-]{1,63}")


class StoreUrl(NamedTuple):
    """What the URL of a store says."""

    kind: str
    """`sqlite`, `postgresql` or `etcd`."""
    tls: bool = False
    servers: tuple[tuple[str, int], ...] = ()
    """Hosts, without brackets, and ports."""
    database: str = ""
    """The database of PostgreSQL."""
    name: str = "pylae"
    """The schema in it, or the first word of all keys in etcd."""

    def __str__(self) -> str:
        if self.kind == "sqlite":
            return self.kind
        hosts = ",".join(f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in self.servers)
        path = "/".join(part for part in (self.database, self.name) if part)
        return f"{self.kind}{'+tls' * self.tls}://{hosts}/{path}"


def store_url(text: str) -> StoreUrl:
    """Reads the URL of a store. Raises what `refusal` makes if it is none."""
    scheme, separator, rest = text.strip().partition("://")
    if scheme == "sqlite" and not separator:
        return StoreUrl("sqlite")
    if scheme == "sqlite":
        raise refusal("SQLite needs no address", "write sqlite: the file is in the state folder")
    found = _SCHEME.fullmatch(scheme)
    if not separator or not found:
        raise refusal("is not the URL of a store", _HINT, secret="@" in text)
    if "@" in rest:
        raise refusal("must not contain a user or a password", "write `user` and `password` beside it", secret=True)
    kind = found["kind"]
    authority, _, path = rest.partition("/")
    servers = tuple(server_of(name, _PORTS[kind], _HINT) for name in authority.split(","))
    if len(servers) > _MOST_SERVERS:
        raise refusal(f"has more than {_MOST_SERVERS} servers", "some are enough")
    database = ""
    if kind == "postgresql":
        database, _, path = path.partition("/")
        if not _DATABASE.fullmatch(database):
            raise refusal("needs the name of a database", "e.g. postgresql://HOST:PORT/DATABASE")
    if path and not _NAME.fullmatch(path):
        what = "the name of a schema" if kind == "postgresql" else "the first word of all keys"
        raise refusal(f"ends with something that cannot be {what}", "use a-z, 0-9 and _, e.g. shop")
    return StoreUrl(kind, bool(found["tls"]), servers, database, path or "pylae")


def _url(text: str) -> str:
    store_url(text)
    return text.strip()


class StoreSettings(Settings):
    """Where a gateway keeps what people change: SQLite in its state folder, or PostgreSQL or etcd for several gateways.
    A text is short for `url`. A change needs a restart.

    Example:
        ```yaml
        store: {url: "postgresql://127.0.0.1:5432/gateways", user: gateway}
        ```
    """

    short = {"type": "string"}

    url: Annotated[str, AfterValidator(_url)] = "sqlite"
    """`sqlite` for a file in the state folder. `postgresql://host:port/database` for a schema `pylae` in a database, or
    `…/database/schema`. `etcd://host:port,host:port` for the servers of etcd, where all keys begin with `/pylae/`, or
    `…/word`. `postgresql+tls` and `etcd+tls` mean TLS."""
    user: User | None = None
    """User of PostgreSQL or etcd."""
    password: Password | None = None
    """Password of the user."""
    tls: ServiceTls | None = None
    """TLS to the store: whom the gateway trusts, and which certificate it presents. Only with `+tls`."""
    timeout: Annotated[Duration, between(timedelta(milliseconds=100), timedelta(minutes=1))] = timedelta(seconds=5)
    """How long the store may take for an answer."""
    history: Annotated[Positive, Field(le=100_000)] = 1000
    """How many configurations the history keeps."""
    audit: Annotated[int, Field(ge=100, le=100_000)] = 10_000
    """How many lines of the audit are kept."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[StoreSettingsFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> StoreSettings:
        url = store_url(self.url)
        if url.kind == "sqlite" and (self.user or self.password or self.tls):
            raise refusal("`user`, `password` and `tls` have no effect with SQLite")
        if self.tls is not None and not url.tls:
            raise refusal("`tls` has no effect without TLS", f"write {url.kind}+tls:// in `url`")
        if url.kind == "postgresql" and self.tls and self.tls.server_name:
            raise refusal("`tls.server_name` has no effect with PostgreSQL", "its certificate has the name in `url`")
        if url.kind == "etcd" and (self.user is None) != (self.password is None):
            raise refusal("`user` and `password` belong together")
        return self

    def look(self, texts: Texts, path: tuple[Step, ...]) -> None:
        """Reads the files that it names, so that `texts` knows of those that cannot be read."""
        if self.tls is not None:
            self.tls.plan(texts, (*path, "tls"))

    @property
    def transport(self) -> ServiceTls:
        """How TLS to the store is, if `url` asks for it."""
        return self.tls or ServiceTls()
