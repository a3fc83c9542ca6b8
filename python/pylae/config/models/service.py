"""Services: named groups of instances, how one is picked, and what happens when they fail."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Unpack

from pydantic import AfterValidator, Field, PlainSerializer, SecretStr, SerializeAsAny, model_validator

from pylae.config.models.application import Application
from pylae.config.models.base import Count, Positive, Real, Settings, Share, Switch, refusal
from pylae.config.models.instance import Instance
from pylae.config.models.tls import ServiceTls
from pylae.config.tables import BALANCERS, balancers_with
from pylae.registry.kinds import Discovery
from pylae.units import Duration, Wait

if TYPE_CHECKING:
    from pylae.settings.fields import (
        CircuitBreakerFields,
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
"""A name of a service: letters, digits, dots, colons, hyphens and underscores."""


def field_name(text: str) -> str:
    """A name that HTTP allows for a field or cookie (a token, RFC 9110 section 5.6.2)."""
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
    """How an instance is picked. A text is short for `kind`."""

    short = {"type": "string", "enum": list(BALANCERS)}
    described = {"kind": "; ".join(f"`{name}` {summary}" for name, summary in BALANCERS.items()) + "."}

    kind: BalancerKind
    on: Annotated[str, AfterValidator(_hash_on), PlainSerializer(_dump_hash_on)] | None = Field(
        default=None, exclude_if=lambda on: on is None
    )
    """What balancers that go by a key go by: `header:NAME`, `cookie:NAME` or `user`."""

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
    """Keeps a client on one instance by a cookie."""

    main = ("cookie",)

    cookie: Annotated[str, AfterValidator(field_name)] = "pylae_instance"
    """Name of the cookie that the gateway sets."""
    ttl: Duration | None = None
    """`Max-Age` of the cookie; without it the cookie ends with the browser's session."""
    secret: Annotated[SecretStr, PlainSerializer(SecretStr.get_secret_value)] | None = Field(
        default=None, exclude_if=lambda secret: secret is None
    )
    """Keys the ids in cookies, so that nobody can test guesses of an instance's address against them. Gateways that
    serve the same clients need the same one."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[StickyFields]) -> None: ...


class HealthCheck(Settings):
    """Active checks: GET `path` on each instance, where 200–399 is healthy, or the health protocol of gRPC."""

    main = ("path",)

    path: Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=2048)] = "/health"
    """Path that is asked for."""
    grpc: Annotated[str, Field(max_length=1024)] | None = None
    """Ask by the health protocol of gRPC instead, for the service of this name; `""` is the server as a whole."""
    interval: Duration = timedelta(seconds=30)
    """Time between two checks of one instance, jittered by a tenth."""
    timeout: Duration = timedelta(seconds=5)
    """Time for the answer's head."""
    healthy_after: Positive = 1
    """Consecutive successes that bring an instance up."""
    unhealthy_after: Positive = 3
    """Consecutive failures that take it down."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[HealthCheckFields]) -> None: ...


class PassiveHealth(Settings):
    """Ejection of instances by what exchanges see."""

    main = ("failures",)

    failures: Positive = 5
    """Consecutive connect failures or 5xx answers that eject an instance."""
    ejection: Duration = timedelta(seconds=30)
    """How long the first ejection lasts; each further one lasts one more of it."""
    max_ejection: Duration = timedelta(minutes=5)
    """Longest ejection."""
    max_ejected: Share = 0.5
    """Largest share of instances ejected at once."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[PassiveHealthFields]) -> None: ...


Status = Annotated[int, Field(ge=400, le=599)]


class CircuitBreaker(Settings):
    """Stops sending to a service that fails, and tries again later."""

    main = ("failure_threshold",)

    failure_threshold: Positive = 5
    """Consecutive failures that open it."""
    failure_rate: Share | None = None
    """Share of failures over `window` that opens it; none counts consecutive failures only."""
    window: Duration = timedelta(seconds=60)
    """Window of `failure_rate`."""
    minimum_requests: Positive = 20
    """Exchanges that `window` must hold before `failure_rate` counts."""
    timeout: Duration = timedelta(seconds=60)
    """How long it stays open."""
    half_open_requests: Positive = 1
    """Probes let through while half open."""
    failure_statuses: tuple[Status, ...] = (500, 502, 503, 504)
    """Answers that count as failures, besides connect errors, timeouts and resets."""
    scope: Literal["service", "instance"] = "service"
    """Whether one breaker serves the whole service or each instance has its own."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[CircuitBreakerFields]) -> None: ...


class RetryBudget(Settings):
    """Bound on retries over all exchanges of a service, so that retries cannot become a storm."""

    main = ("ratio",)

    ratio: Share = 0.2
    """Retries allowed as a share of requests."""
    min_per_second: Real = 10.0
    """Retries per second allowed whatever the share, so that services with little traffic are helped too."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[RetryBudgetFields]) -> None: ...


class Queue(Settings):
    """The waiting room behind `max_in_flight`."""

    main = ("size",)

    size: Count = 100
    """Exchanges that may wait; beyond it 503."""
    timeout: Wait = timedelta(seconds=1)
    """Longest wait; beyond it 503."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[QueueFields]) -> None: ...


class Service(Settings):
    """A named group of instances."""

    main = ("instances",)

    instances: tuple[Instance, ...] = ()
    """Instances that are always there."""
    discovery: SerializeAsAny[Discovery] | None = None
    """Where further instances come from."""
    app: Application = None
    """An ASGI application that runs in the process of the gateway and is one more instance, for development and tests:
    in a program the application itself, in a file `module:name`. It starts and ends with the gateway. It has a port of
    its own on 127.0.0.1, which everybody on this machine can connect to."""
    load_balancer: LoadBalancer | None = None
    """How an instance is picked; `weighted_round_robin` if any weight differs from 1, else `round_robin`."""
    slow_start: Duration | None = None
    """An instance that joins or recovers gets its share of load gradually over this time."""
    tls: ServiceTls = ServiceTls()
    """How TLS is spoken to instances whose URL begins with `https://`."""
    sticky: Switch[Sticky] = None
    """Keeps a client on one instance by a cookie; off unless given."""
    health_check: Switch[HealthCheck] = None
    """Active checks; off unless given."""
    passive_health: Switch[PassiveHealth] = None
    """Ejection by what exchanges see; off unless given."""
    panic_threshold: Share | None = None
    """Share of healthy instances below which health is ignored and all instances get traffic; none answers 503."""
    circuit_breaker: Switch[CircuitBreaker] = None
    """Circuit breaker; off unless given."""
    retry_budget: RetryBudget = RetryBudget()
    """Bound on retries over all exchanges of the service."""
    connect_timeout: Duration = timedelta(seconds=5)
    """Time for a connection to an instance to be made."""
    max_in_flight: Positive | None = None
    """Exchanges in flight to the service; beyond it they queue. None is unbounded."""
    queue: Queue = Queue()
    """The waiting room behind `max_in_flight`."""
    protocol: Literal["http1", "http2"] = "http1"
    """What is spoken to the instances, with TLS where their addresses say `https`. gRPC needs HTTP/2."""
    max_streams: Positive = 100
    """Exchanges at once on one HTTP/2 connection; beyond it, or what the instance allows, a further one is made."""
    preserve_host: bool | None = None
    """Whether instances are sent the client's `Host` or their own. If none is given, the client's where their addresses
    say `http`, and their own where they say `https`."""
    max_idle: Count = 256
    """Idle connections kept per worker and instance."""
    idle_timeout: Wait = timedelta(seconds=4)
    """How long an idle connection to an instance is kept: less than the instance keeps it (uvicorn: 5 s)."""

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken to any instance."""
        found = self.discovery and ("tls" in self.model_fields_set or self.discovery.settings.secure)
        return bool(found) or any(instance.url.startswith("https:") for instance in self.instances)

    @model_validator(mode="after")
    def _runs(self) -> Service:
        if self.app is not None and self.discovery is not None:
            raise refusal("has `app` and `discovery`; only one of them")
        if self.app is not None and self.protocol == "http2":
            raise refusal("`app` is spoken to over HTTP/1.1", "leave out `protocol: http2`")
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
