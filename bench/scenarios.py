"""What is asked of every gateway. A scenario is one entry of `SCENARIOS`; `README.md` says how to add one."""

from __future__ import annotations

import base64
import dataclasses
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PLAIN = " plain"
"""What is added to a gateway's name where it serves a scenario without what its cost is measured of."""


@dataclass(frozen=True)
class Route:
    """One route to the origin: either a path prefix or a regular expression over the whole path."""

    prefix: str | None = None
    pattern: str | None = None


@dataclass(frozen=True)
class Scenario:
    """The gateway's configuration and the request that is sent to it."""

    name: str
    title: str
    path: str
    routes: tuple[Route, ...] = (Route(prefix="/"),)
    headers: tuple[str, ...] = ()
    """Request headers, each `NAME: VALUE`."""
    require: tuple[str, ...] = ()
    """Response headers that every answer of a gateway must carry, each `NAME` or `NAME: VALUE`."""
    features: frozenset[str] = frozenset()
    """What a gateway must do beyond routing and proxying; a peer that does not list them all is not measured."""
    connections: int = 64
    streams: int | None = None
    """Requests at once on each connection, over HTTP/2; none is HTTP/1.1 with one."""
    websocket: int | None = None
    """Bytes of the messages that are echoed over a WebSocket on each connection, instead of requests."""
    upload: int | str | None = None
    """Bytes of the body that every request sends to the path `/upload/SIZE`; `json` is the document of `/json`."""
    chunked: bool = False
    """The body is sent in chunks, without a length."""
    hook: str = ""
    """The function of `bench/hooks.py` that every request meets."""
    hosts: int = 0
    """The processes that run it; 0 is the gateway's own."""
    auth: str = ""
    """The authenticator of `bench/identity.py` that knows the sender of every request."""
    traces: str = ""
    """Which exchanges the gateway traces, by the name in `TRACES`. The origin takes the spans."""
    validation: Mapping[str, Any] | None = None
    """What the gateway requires of requests."""
    clients: int = 0
    """How many clients take turns, each with a rate limit that two nodes of a cluster share."""
    consumers: int = 0
    """How many programs with keys the gateway knows. All of them take turns."""
    counted: tuple[str, float] | None = None
    """A metric of the gateway, and by how much each request raises it at least."""
    refused: int | None = None
    """The status of a request without what the gateway asks for here."""
    most: float | None = None
    """Microseconds that what is measured may cost a request: the target."""
    ratios: tuple[tuple[str, float], ...] = ()
    """Targets: how many times the CPU time of another gateway, or of the same one in another scenario, it may take."""

    @property
    def sends(self) -> bool:
        """Whether requests have a body."""
        return self.upload is not None or "grpc" in self.features

    @property
    def numbers(self) -> int | None:
        """How many numbers requests have, if they have some."""
        return self.clients or self.consumers or None

    @property
    def costs(self) -> str:
        """What a gateway without it is measured beside; empty if there is no such thing."""
        things = {
            "hook": self.hook,
            "authenticator": self.auth,
            "tracing": self.traces,
            "validation": self.validation,
            "shared limit": self.clients,
            f"lookup among {self.consumers:,} keys instead of {FEW}": self.consumers > FEW,
        }
        return next((name for name, asked in things.items() if asked), "")

    @property
    def plain(self) -> Scenario:
        """The same without what its cost is measured of; of keys there are few."""
        return dataclasses.replace(
            self,
            hook="",
            hosts=0,
            auth="",
            traces="",
            validation=None,
            clients=0,
            consumers=min(self.consumers, FEW),
            require=(),
            counted=None,
            refused=self.refused if self.consumers else None,
        )


def _regex_routes(count: int) -> tuple[Route, ...]:
    return tuple(Route(pattern=rf"^/api/r{index}/(\d+)$") for index in range(count))


FEW = 10
"""Keys that a gateway has beside which one with many is measured."""
ADMIN_TOKEN = "the-token-of-the-admin-api-of-a-bench"  # noqa: S105 (it opens nothing)
"""What the admin API of a measured gateway asks for."""
SECRET = "a-secret-of-more-than-thirty-two-bytes-for-the-bench"  # noqa: S105 (it opens nothing)
"""What tokens are signed with."""
ORIGIN = "https://shop.example"
"""The page that may call across origins."""
SECURITY_HEADERS = (
    "X-Content-Type-Options: nosniff",
    "X-Frame-Options: DENY",
    "X-XSS-Protection: 1; mode=block",
    "Referrer-Policy: strict-origin-when-cross-origin",
    "Strict-Transport-Security: max-age=31536000; includeSubDomains",
)
PER_SECOND = 1_000_000
"""The rate limit for each user: counted, never reached."""


def _token() -> str:
    """A token of user 7 that is good until 2100."""
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": "7", "role": "user", "exp": 4_102_444_800})
    message = ".".join(_segment(json.dumps(part).encode()) for part in parts)
    return f"{message}.{_segment(hmac.digest(SECRET.encode(), message.encode(), 'sha256'))}"


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


TRACES: dict[str, dict[str, object]] = {
    "unsampled": {"ratio": 0},
    "kept": {"ratio": 0, "keep": {"errors": True}},
    "sampled": {"ratio": 1},
}
"""Settings of `telemetry.traces`."""

_ORDER: dict[str, Any] = {
    "type": "object",
    "required": ["id", "name", "email", "role", "permissions"],
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "name": {"type": "string", "minLength": 1, "maxLength": 100},
        "email": {"type": "string", "pattern": "^[^@]+@[^@]+$"},
        "role": {"enum": ["user", "admin"]},
        "active": {"type": "boolean"},
        "created": {"type": "string"},
        "permissions": {"type": "array", "maxItems": 20, "items": {"type": "string", "maxLength": 50}},
    },
    "additionalProperties": False,
}
"""A schema of what the origin answers to `/json`."""

_CLOSE = "Connection: close"
_JSON = "Content-Type: application/json"
_HOOKS = frozenset({"hooks"})
_WHERE = {0: "in the gateway's process", 1: "in a hook host", 2: "in two hook hosts"}
_CALLS = ("pylae_hook_calls_total", 1.0)
_SPANS = ("pylae_export_items_total", 2.0)
_BEST = (("haproxy", 1.0), ("nginx", 1.0), ("envoy", 1.0))

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("proxy", "GET, 180 B of JSON", "/json", ratios=(("haproxy", 0.85),)),
        Scenario(
            "tls",
            "the same over TLS 1.3, on connections that are kept",
            "/json",
            features=frozenset({"tls"}),
            ratios=(("haproxy", 0.75),),
        ),
        Scenario(
            "h2",
            "the same over HTTP/2 and TLS 1.3, 8 connections with 16 streams each",
            "/json",
            features=frozenset({"tls", "h2"}),
            connections=8,
            streams=16,
            ratios=(("haproxy", 0.9),),
        ),
        Scenario(
            "grpc",
            "unary gRPC, 180 B each way, HTTP/2 without TLS on both sides, 8 connections with 16 streams each",
            "/json",
            features=frozenset({"grpc"}),
            connections=8,
            streams=16,
            ratios=(("envoy", 0.7),),
        ),
        Scenario(
            "cached",
            "GET, 180 B of JSON from the gateway's cache",
            "/json",
            features=frozenset({"cache"}),
            ratios=(("haproxy", 0.75),),
        ),
        Scenario(
            "routes500",
            "the last of 500 regex routes",
            "/api/r499/123456",
            routes=_regex_routes(500),
            ratios=(("proxy", 1.05),),
        ),
        Scenario(
            "policies",
            "JWT (HS256), rate limit by user, CORS, five security headers, identity headers",
            "/identity",
            headers=(f"Authorization: Bearer {_token()}", f"Origin: {ORIGIN}"),
            require=(f"Access-Control-Allow-Origin: {ORIGIN}", *SECURITY_HEADERS),
            features=frozenset({"policies"}),
            ratios=(("haproxy", 0.65), ("envoy", 0.25)),
        ),
        Scenario(
            "limited",
            "rate limit by a field, always the same value",
            "/json",
            headers=("X-Client: 00000001",),
            features=frozenset({"limit"}),
        ),
        Scenario(
            "flood",
            "the same, every request with another value: 125 s for 5 million",
            "/json",
            headers=("X-Client: ########",),
            features=frozenset({"limit"}),
        ),
        Scenario(
            "websocket",
            "WebSocket: a message of 125 B and its echo",
            "/json",
            features=frozenset({"websocket"}),
            websocket=125,
            ratios=(("nginx", 1.0),),
        ),
        *(
            Scenario(
                f"hook_{hook}",
                f"the proxy scenario with a hook: {title}",
                "/json",
                features=_HOOKS,
                hook=hook,
                counted=_CALLS,
                most=most,
            )
            for hook, title, most in (
                ("sync", "a function on the worker that reads a header and sets one", 1.5),
                ("driven", "the same, async, never suspended", 2.0),
                ("waiting", "the same, async, awaits one asyncio.sleep(0)", 10.0),
                ("blocking", "the same on the pool of threads", None),
                ("early", "a function that does nothing, before routing", 1.5),
            )
        ),
        *(
            Scenario(
                f"hook_{hook}_hosts{hosts}" if hosts else f"hook_{hook}",
                f"the proxy scenario with a hook: {title}, {_WHERE[hosts]}",
                "/json",
                features=_HOOKS,
                hook=hook,
                hosts=hosts,
                counted=_CALLS,
            )
            for hook, title, places in (
                ("sync", "a function that reads a header and sets one", (1,)),
                ("busy50", "50 µs of Python", (0, 1)),
                ("busy2000", "2 ms of Python on any core", (0, 1, 2)),
            )
            for hosts in places
        ),
        Scenario(
            "hook_burning",
            "a route without hooks while Python code holds the interpreter's lock half of the time",
            "/json",
            features=_HOOKS,
            hook="burning",
        ),
        *(
            Scenario(
                f"auth_{auth}",
                f"the proxy scenario with a user: {title}",
                "/json",
                features=frozenset({"auth"}),
                auth=auth,
                refused=refused,
                most=most,
            )
            for auth, title, refused, most in (
                ("session", "of the session of a login", 401, 3.0),
                ("introspection", "of a token that its issuer was asked about", 401, None),
                # The service of the bench knows everybody.
                ("forward_auth", "of a credential that a service was asked about", None, None),
            )
        ),
        Scenario(
            "auth_million",
            "the proxy scenario with a user: the key of a program, one after the other of a million",
            "/json",
            headers=("X-API-Key: ########",),
            features=frozenset({"auth"}),
            consumers=1_000_000,
            refused=401,
            most=0.5,
        ),
        *(
            Scenario(
                f"limit_shared{clients}",
                f"the proxy scenario with a rate limit that two nodes share, far from it; clients: {clients:,}",
                "/json",
                headers=("X-Client: ########",),
                require=("RateLimit",),
                features=frozenset({"cluster"}),
                clients=clients,
                # Every 20 ms, however many requests there are.
                counted=("pylae_store_calls_total", 1e-4),
                most=1.0,
            )
            for clients in (1, 1000)
        ),
        Scenario(
            "validated",
            "POST, 180 B of JSON that must match a JSON schema",
            "/upload/json",
            headers=(_JSON,),
            features=frozenset({"validation"}),
            upload="json",
            validation={"json_body": {"json_schema": _ORDER}},
            refused=422,
        ),
        *(
            Scenario(
                f"traces_{traces}",
                f"the proxy scenario with traces: {title}",
                "/json",
                features=frozenset({"traces"}),
                traces=traces,
                counted=counted,
                most=most,
            )
            for traces, title, counted, most in (
                ("unsampled", "no exchange is sampled", None, 0.2),
                ("kept", "the same, but those that fail are sent all the same, and none does", None, None),
                ("sampled", "every exchange is sampled, two spans each, sent as they are", _SPANS, 2.0),
            )
        ),
        Scenario("body64k", "GET, 64 KiB", "/body/64k", ratios=(("floor", 1.05), *_BEST)),
        Scenario("body1m", "GET, 1 MiB", "/body/1m", ratios=(("floor", 1.05), *_BEST)),
        Scenario(
            "connect",
            "the proxy scenario with a connection for each request",
            "/json",
            headers=(_CLOSE,),
            ratios=(("haproxy", 0.95),),
        ),
        Scenario(
            "tls_connect",
            "the same over TLS 1.3, with a handshake for each request",
            "/json",
            headers=(_CLOSE,),
            features=frozenset({"tls"}),
            ratios=(("haproxy", 0.65),),
        ),
        Scenario("busy5000", "the proxy scenario on 5,000 busy connections", "/json", connections=5000),
        Scenario("upload64k", "POST, 64 KiB", "/upload/64k", upload=65536, ratios=_BEST),
        Scenario(
            "chunked64k", "the same in chunks of 16 KiB, without a length", "/upload/64k", upload=65536, chunked=True
        ),
    )
}

_COMPUTING = frozenset({"burning", "busy50", "busy2000"})
COSTS = tuple(name for name, scenario in SCENARIOS.items() if scenario.costs and scenario.hook not in _COMPUTING)
"""Those that measure what something costs over the same request without it, but not what hooks compute."""
