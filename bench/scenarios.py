"""What is asked of every gateway. A scenario is one entry of `SCENARIOS`; `README.md` says how to add one."""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import dataclass

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
    upload: int | None = None
    """Bytes of the body that every request sends to the path `/upload/SIZE`."""
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

    @property
    def sends(self) -> bool:
        """Whether requests have a body."""
        return self.upload is not None or "grpc" in self.features

    @property
    def costs(self) -> str:
        """What a gateway without it is measured beside; empty if there is no such thing."""
        return "hook" if self.hook else "authenticator" if self.auth else "tracing" if self.traces else ""


def _regex_routes(count: int) -> tuple[Route, ...]:
    return tuple(Route(pattern=rf"^/api/r{index}/(\d+)$") for index in range(count))


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

_CLOSE = "Connection: close"
_HOOKS = frozenset({"hooks"})
_WHERE = {0: "in the gateway's process", 1: "in a hook host", 2: "in two hook hosts"}

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("proxy", "GET, 180 B of JSON", "/json"),
        Scenario("tls", "the same over TLS 1.3, on connections that are kept", "/json", features=frozenset({"tls"})),
        Scenario(
            "h2",
            "the same over HTTP/2 and TLS 1.3, 8 connections with 16 streams each",
            "/json",
            features=frozenset({"tls", "h2"}),
            connections=8,
            streams=16,
        ),
        Scenario(
            "grpc",
            "unary gRPC, 180 B each way, HTTP/2 without TLS on both sides, 8 connections with 16 streams each",
            "/json",
            features=frozenset({"grpc"}),
            connections=8,
            streams=16,
        ),
        Scenario("cached", "GET, 180 B of JSON from the gateway's cache", "/json", features=frozenset({"cache"})),
        Scenario("routes500", "the last of 500 regex routes", "/api/r499/123456", routes=_regex_routes(500)),
        Scenario(
            "policies",
            "JWT (HS256), rate limit by user, CORS, five security headers, identity headers",
            "/identity",
            headers=(f"Authorization: Bearer {_token()}", f"Origin: {ORIGIN}"),
            require=(f"Access-Control-Allow-Origin: {ORIGIN}", *SECURITY_HEADERS),
            features=frozenset({"policies"}),
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
        ),
        *(
            Scenario(f"hook_{hook}", f"the proxy scenario with a hook: {title}", "/json", features=_HOOKS, hook=hook)
            for hook, title in (
                ("sync", "a function on the worker that reads a header and sets one"),
                ("driven", "the same, async, never suspended"),
                ("waiting", "the same, async, awaits one asyncio.sleep(0)"),
                ("blocking", "the same on the pool of threads"),
                ("early", "a function that does nothing, before routing"),
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
            )
            for auth, title in (
                ("session", "of the session of a login"),
                ("introspection", "of a token that its issuer was asked about"),
                ("forward_auth", "of a credential that a service was asked about"),
            )
        ),
        *(
            Scenario(
                f"traces_{traces}",
                f"the proxy scenario with traces: {title}",
                "/json",
                features=frozenset({"traces"}),
                traces=traces,
            )
            for traces, title in (
                ("unsampled", "no exchange is sampled"),
                ("kept", "the same, but those that fail are sent all the same, and none does"),
                ("sampled", "every exchange is sampled, two spans each, sent as they are"),
            )
        ),
        Scenario("body64k", "GET, 64 KiB", "/body/64k"),
        Scenario("body1m", "GET, 1 MiB", "/body/1m"),
        Scenario("connect", "the proxy scenario with a connection for each request", "/json", headers=(_CLOSE,)),
        Scenario(
            "tls_connect",
            "the same over TLS 1.3, with a handshake for each request",
            "/json",
            headers=(_CLOSE,),
            features=frozenset({"tls"}),
        ),
        Scenario("busy5000", "the proxy scenario on 5,000 busy connections", "/json", connections=5000),
        Scenario("upload64k", "POST, 64 KiB", "/upload/64k", upload=65536),
        Scenario(
            "chunked64k", "the same in chunks of 16 KiB, without a length", "/upload/64k", upload=65536, chunked=True
        ),
    )
}
