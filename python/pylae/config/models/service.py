"""Services: groups of instances, load balancing, and what happens when instances fail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Unpack
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr, SerializeAsAny, model_validator

from pylae.config.document.nodes import Finding, Step
from pylae.config.models.address import is_this_machine
from pylae.config.models.application import Application
from pylae.config.models.authenticators.kind import one_or_more
from pylae.config.models.base import Count, Positive, Real, Settings, Share, Switch, refusal
from pylae.config.models.instance import Instance
from pylae.config.models.tls import PemFile, ServiceTls, Texts
from pylae.config.tables import BALANCERS, balancers_with
from pylae.registry.kinds import Discovery
from pylae.units import Duration, Wait

if TYPE_CHECKING:
    from pylae.settings.fields import (
        CircuitBreakerFields,
        ClientCredentialsFields,
        HealthCheckFields,
        LoadBalancerFields,
        PassiveHealthFields,
        QueueFields,
        RetryBudgetFields,
        ServiceFields,
        StickyFields,
    )

_SERVICE_NAME = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]{0,199}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _service_name(text: str) -> str:
    if not _SERVICE_NAME.fullmatch(text):
        raise refusal("must be letters, digits, dots, colons, hyphens and underscores, at most 200")
    return text


ServiceName = Annotated[str, AfterValidator(_service_name)]
"""Name of a service: letters, digits, dots, colons, hyphens and underscores."""


def _token_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.username is None and not parts.fragment
    except ValueError:
        valid = False
    if not valid or not text.isascii() or any(character <= " " for character in text):
        raise refusal("must be an http:// or https:// address without user name and fragment", secret=True)
    return text


_OWN_PARAMETERS = ("grant_type", "scope", "audience", "client_id", "client_secret")


def _parameters(extra: dict[str, str]) -> dict[str, str]:
    if own := [name for name in extra if name in _OWN_PARAMETERS]:
        raise refusal(f"`{own[0]}` is no further parameter: other settings say it", "leave it out of `extra`")
    if "" in extra:
        raise refusal("a parameter has no name")
    return extra


def field_name(text: str) -> str:
    """Checks that a text can be the name of a field or cookie (a token, RFC 9110 section 5.6.2)."""
    if not _TOKEN.fullmatch(text):
        raise refusal("must be letters, digits and hyphens")
    return text


if TYPE_CHECKING:
    BalancerKind: TypeAlias = str
else:
    BalancerKind = Literal[tuple(BALANCERS)]
    """The balancers. Type checkers see their names in `pylae.settings.fields`."""


def _hash_on(text: str) -> str:
    kind, colon, name = text.partition(":")
    if (text == "user" or (kind in ("header", "cookie") and colon)) and _TOKEN.fullmatch(name or "user"):
        return text
    raise refusal("must be one of header:NAME, cookie:NAME, user", known=("header:NAME", "cookie:NAME", "user"))


def _dump_hash_on(text: str) -> Any:
    kind, colon, name = text.partition(":")
    return {kind: name} if colon else kind


class LoadBalancer(Settings):
    """How to pick an instance. A text is short for `kind`."""

    short = {"type": "string", "enum": list(BALANCERS)}
    described = {"kind": "; ".join(f"`{name}` {summary}" for name, summary in BALANCERS.items()) + "."}

    kind: BalancerKind
    on: Annotated[str, AfterValidator(_hash_on), PlainSerializer(_dump_hash_on)] | None = Field(
        default=None, exclude_if=lambda on: on is None
    )
    """Key for the balancers that need one: `header:NAME`, `cookie:NAME` or `user`. Requests with the same key go to the
    same instance."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[LoadBalancerFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> LoadBalancer:
        keyed = balancers_with("key")
        if self.kind in keyed and self.on is None:
            raise refusal(f"{self.kind} needs `on`", f"e.g. {{kind: {self.kind}, on: header:X-Tenant}}")
        if self.kind not in keyed and self.on is not None:
            raise refusal(f"`on` is for {' and '.join(keyed)} only")
        return self


class Sticky(Settings):
    """Keeps a client on one instance with a cookie."""

    main = ("cookie",)

    cookie: Annotated[str, AfterValidator(field_name)] = "pylae_instance"
    """Name of the cookie that the gateway sets."""
    ttl: Duration | None = None
    """`Max-Age` of the cookie. Without it, the cookie ends with the browser session."""
    secret: Annotated[SecretStr, PlainSerializer(SecretStr.get_secret_value)] | None = Field(
        default=None, exclude_if=lambda secret: secret is None
    )
    """Secret key for the ids in the cookies. With it, a client cannot test guesses of an instance's address against its
    cookie. Gateways that serve the same clients need the same secret."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[StickyFields]) -> None: ...


class HealthCheck(Settings):
    """Active health checks: GET `path` on each instance, where 200–399 is healthy, or gRPC's health protocol."""

    main = ("path",)

    path: Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=2048)] = "/health"
    """Path to request."""
    grpc: Annotated[str, Field(max_length=1024)] | None = None
    """Check with gRPC's health protocol instead, for the service of this name. `""` checks the server as a whole."""
    interval: Duration = timedelta(seconds=30)
    """Time between two checks of an instance. It varies randomly by a tenth."""
    timeout: Duration = timedelta(seconds=5)
    """Time that an instance may take, up to the head of its response."""
    healthy_after: Positive = 1
    """Consecutive successes after which an instance is healthy."""
    unhealthy_after: Positive = 3
    """Consecutive failures after which an instance is unhealthy."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[HealthCheckFields]) -> None: ...


class PassiveHealth(Settings):
    """Passive health checks: takes an instance out for a while (ejects it) if requests to it fail."""

    main = ("failures",)

    failures: Positive = 5
    """Consecutive failed connections or 5xx responses that eject an instance."""
    ejection: Duration = timedelta(seconds=30)
    """How long the first ejection lasts. The second lasts twice as long, the third three times, and so on."""
    max_ejection: Duration = timedelta(minutes=5)
    """Longest ejection."""
    max_ejected: Share = 0.5
    """Largest share of the instances that may be ejected at once, from 0 to 1."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[PassiveHealthFields]) -> None: ...


Status = Annotated[int, Field(ge=400, le=599)]


class CircuitBreaker(Settings):
    """Stops sending requests to a service that fails, and tries again later."""

    main = ("failure_threshold",)

    failure_threshold: Positive = 5
    """Consecutive failures that open the breaker."""
    failure_rate: Share | None = None
    """Share of failures within `window` that opens the breaker, from 0 to 1. By default only consecutive failures
    count."""
    window: Duration = timedelta(seconds=60)
    """Time span for `failure_rate`."""
    minimum_requests: Positive = 20
    """Fewest requests within `window` for `failure_rate` to apply."""
    timeout: Duration = timedelta(seconds=60)
    """How long the breaker stays open before it lets a request through as a test."""
    half_open_requests: Positive = 1
    """Test requests at once after `timeout`, while the breaker is half open."""
    failure_statuses: tuple[Status, ...] = (500, 502, 503, 504)
    """Response statuses that count as failures, besides connect errors, timeouts and resets."""
    scope: Literal["service", "instance"] = "service"
    """`service` uses one breaker for the whole service, `instance` one for each instance."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[CircuitBreakerFields]) -> None: ...


class RetryBudget(Settings):
    """Limits the retries of all requests to a service, so that retries do not overload it."""

    main = ("ratio",)

    ratio: Share = 0.2
    """Allowed retries as a share of the requests."""
    min_per_second: Real = 10.0
    """Retries per second that are always allowed, so that services with little traffic get retries too."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[RetryBudgetFields]) -> None: ...


class Queue(Settings):
    """The queue for requests beyond `max_in_flight`."""

    main = ("size",)

    size: Count = 100
    """Most requests in the queue. Further ones get 503."""
    timeout: Wait = timedelta(seconds=1)
    """Longest wait in the queue. After that, the request gets 503."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[QueueFields]) -> None: ...


class ClientCredentials(Settings):
    """A token that the gateway fetches for the instances of a service (RFC 6749 section 4.4) and keeps fresh. Instances
    get it as `Authorization: Bearer`, in place of the client's credentials.
    """

    token_url: Annotated[str, AfterValidator(_token_url)]
    """URL of the token endpoint."""
    client_id: Annotated[str, Field(min_length=1, max_length=1024)]
    """The gateway's name there."""
    client_secret: SecretStr
    """The secret that belongs to it."""
    scope: Annotated[tuple[str, ...], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])] = ()
    """Scopes to ask for: a list, or one text separated by spaces."""
    audience: Annotated[tuple[str, ...], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])] = ()
    """Services that the token is to be for, as `audience`. Some servers need it."""
    client_auth: Literal["basic", "post"] = "basic"
    """How to send name and secret: in `Authorization: Basic`, or in the body."""
    extra: Annotated[dict[str, str], AfterValidator(_parameters)] = {}
    """Further parameters of the request, for example `resource`."""
    ca: PemFile | None = None
    """PEM file with the authorities to trust for `token_url`. The default is the system's authorities."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ClientCredentialsFields]) -> None: ...

    def plan(self, texts: Texts, path: tuple[Step, ...]) -> dict[str, Any]:
        """Returns its part of the plan. `path` is its place in the model."""
        scope = [("scope", " ".join(self.scope))] if self.scope else []
        audience = [("audience", one) for one in self.audience]
        return {
            **self.model_dump(mode="json", include={"token_url", "client_id", "client_auth"}),
            "client_secret": self.client_secret.get_secret_value(),
            "parameters": [list(pair) for pair in (*scope, *audience, *self.extra.items())],
            "ca": self.ca and texts.read(self.ca, (*path, "ca")),
        }

    def weaknesses(self) -> Iterator[Finding]:
        """Yields settings that work but are probably insecure. Paths begin at this setting."""
        parts = urlsplit(self.token_url)
        if parts.scheme == "http" and not is_this_machine(parts.hostname or ""):
            text = "anyone on the network can read the secret that goes over http://"
            yield Finding(("token_url",), text, "use https://")


class Service(Settings):
    """A named group of instances."""

    main = ("instances",)

    instances: tuple[Instance, ...] = ()
    """Fixed instances."""
    discovery: SerializeAsAny[Discovery] | None = None
    """Source of further instances."""
    app: Application = None
    """ASGI application that the gateway runs in its own process as one more instance, for development and tests. Give
    the application itself in a program, `module:name` in a file. It starts and stops with the gateway and listens on a
    port of its own on 127.0.0.1, which every user of this machine can connect to."""
    load_balancer: LoadBalancer | None = None
    """How to pick an instance. The default is `weighted_round_robin` if any weight differs from 1, else
    `round_robin`."""
    slow_start: Duration | None = None
    """Time over which an instance that joins or recovers gradually gets its full share of the load."""
    tls: ServiceTls = ServiceTls()
    """TLS settings for instances whose URL begins with `https://`."""
    sticky: Switch[Sticky] = None
    """Keep a client on one instance with a cookie. Off by default."""
    health_check: Switch[HealthCheck] = None
    """Active health checks. Off by default."""
    passive_health: Switch[PassiveHealth] = None
    """Passive health checks, by the outcome of requests. Off by default."""
    panic_threshold: Share | None = None
    """Share of healthy instances below which the gateway ignores health and uses all instances, from 0 to 1. By default
    it never uses unhealthy instances and answers 503 if none is healthy."""
    circuit_breaker: Switch[CircuitBreaker] = None
    """Circuit breaker. Off by default."""
    retry_budget: RetryBudget = RetryBudget()
    """Limit on the retries of all requests to the service."""
    connect_timeout: Duration = timedelta(seconds=5)
    """Time to connect to an instance."""
    max_in_flight: Positive | None = None
    """Most requests to the service in progress. Further ones wait in `queue`. No limit unless given."""
    queue: Queue = Queue()
    """The queue for requests beyond `max_in_flight`."""
    protocol: Literal["http1", "http2"] = "http1"
    """Protocol to the instances: `http1`, or `http2`, which gRPC needs. With `https` URLs it runs over TLS."""
    max_streams: Positive = 100
    """Most requests at once on one HTTP/2 connection. Beyond this, or beyond what the instance allows, the gateway
    opens another connection."""
    preserve_host: bool | None = None
    """Send the client's `Host` to instances (true), or their own (false). By default instances with `http` URLs get the
    client's, and those with `https` URLs their own."""
    max_idle: Count = 10_000
    """Most idle connections to keep, per worker and instance. As many are kept as requests at once have needed within
    the last `idle_timeout`."""
    idle_timeout: Wait = timedelta(seconds=4)
    """How long to keep an idle connection to an instance. It should be shorter than the instance keeps it (uvicorn: 5
    s)."""
    client_credentials: ClientCredentials | None = None
    """Token of the gateway's own for the instances, in place of the client's credentials."""

    @property
    def secure(self) -> bool:
        """Whether the gateway speaks TLS to any instance."""
        found = self.discovery and ("tls" in self.model_fields_set or self.discovery.settings.secure)
        return bool(found) or any(instance.url.startswith("https:") for instance in self.instances)

    @model_validator(mode="after")
    def _runs(self) -> Service:
        if self.app is not None and self.discovery is not None:
            raise refusal("has `app` and `discovery`; only one of them can be given")
        if self.app is not None and self.protocol == "http2":
            raise refusal("`app` speaks HTTP/1.1 only", "leave out `protocol: http2`")
        return self

    @model_validator(mode="after")
    def _speaks(self) -> Service:
        if (
            isinstance(self.health_check, HealthCheck)
            and self.health_check.grpc is not None
            and self.protocol == "http1"
        ):
            raise refusal("health_check.grpc needs HTTP/2 to the instances", "add `protocol: http2`")
        return self

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ServiceFields]) -> None: ...
