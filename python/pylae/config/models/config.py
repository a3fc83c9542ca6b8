"""The configuration as a whole. The Python objects are the model; YAML is their serialised form."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pylae.config.models.address import ListenAddress, number_as_text
from pylae.config.models.admin import Admin
from pylae.config.models.auth import AuthConfig
from pylae.config.models.base import Network, Positive, Settings, Switch, refusal, split_words
from pylae.config.models.errors import ErrorPages
from pylae.config.models.hooks import HookSettings, PluginUse
from pylae.config.models.route import HostName, Route
from pylae.config.models.service import Service, ServiceName
from pylae.config.models.tls import ListenerTls
from pylae.monitoring import Thresholds
from pylae.policies import PolicySet
from pylae.units import ByteSize, Duration, Wait

if TYPE_CHECKING:
    from pylae.settings.fields import ConfigFields, Http2LimitsFields, LimitsFields, ListenerFields

_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\$?|[0-9]{1,9}")


class Listener(Settings):
    """One address that clients connect to. A text is short for `address`."""

    short = {"type": "string"}

    address: ListenAddress
    """`ip:port`. Port 0 takes a free one."""
    http2: bool | None = None
    """Whether HTTP/2 is spoken: on a listener with TLS to clients that choose it in the handshake, which is the default
    there; without TLS to clients that begin with it (RFC 9113 section 3.3), only if this is true."""
    tls: ListenerTls | None = None
    """TLS; without, what is said on the way can be read and changed."""
    proxy_protocol: bool | tuple[Network, ...] = False
    """Addresses and networks of proxies in front that pass bytes on and say in a header (PROXY protocol, version 1 or
    2) from where they come; `true` for those under `trusted_proxies`. Nobody else can connect then, and nobody without
    the header."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ListenerFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        given = number_as_text(value)
        return {"address": given} if isinstance(given, str) else value


class Http2Limits(Settings):
    """Bounds of one client's HTTP/2 connection. Its heads have the bounds of `limits`."""

    max_streams: Annotated[Positive, Field(le=10_000)] = 100
    """Exchanges at once; beyond it they are refused with REFUSED_STREAM."""
    max_resets: Annotated[Positive, Field(le=100_000)] = 200
    """Streams that may be reset at once, by the client or for its mistakes. Every exchange that is served to its end
    allows for one more, and a minute for as many again; who goes further is cut off with ENHANCE_YOUR_CALM."""
    max_idle_frames: Annotated[Positive, Field(le=1_000_000)] = 1000
    """Frames at once that carry neither a head nor body bytes (SETTINGS, PING, WINDOW_UPDATE, PRIORITY, CONTINUATION,
    empty DATA). What is sent to the client allows for more, and so does time; then as with `max_resets`."""
    stream_window: Annotated[ByteSize, Field(ge=16 * 1024, le=2**30)] = 256 * 1024
    """Bytes of one request body that are held before they are sent on."""
    connection_window: Annotated[ByteSize, Field(ge=64 * 1024, le=2**30)] = 1024 * 1024
    """The same for all streams of a connection."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[Http2LimitsFields]) -> None: ...


class Limits(Settings):
    """Bounds and deadlines of the client side."""

    main = ("max_body",)

    max_connections: Positive = 10_000
    """Open client connections; beyond it an idle one is closed for each that comes, or the new one refused. Fewer are
    admitted where the limit on file descriptors has no room for them and as many connections to instances."""
    max_requests: Positive = 10_000
    """Exchanges in flight; beyond it 503."""
    max_head: Annotated[ByteSize, Field(ge=1024, le=2**20)] = 32 * 1024
    """Size of a request head (431)."""
    max_fields: Annotated[Positive, Field(le=10_000)] = 100
    """Number of request fields (431)."""
    max_target: Annotated[ByteSize, Field(ge=64, le=2**20)] = 8 * 1024
    """Size of a request target (414)."""
    max_body: ByteSize = 10 * 1024 * 1024
    """Size of a request body (413), counted, unless a policy of the route says otherwise."""
    head_timeout: Duration = timedelta(seconds=10)
    """Total time for a request head to arrive (408)."""
    keep_alive: Wait = timedelta(seconds=75)
    """How long a connection may stay open between requests."""
    min_rate: ByteSize = 100
    """Slowest average rate, in bytes per second, at which a client may send a body or read an answer; 0 is no bound.
    What its kernel has acknowledged is read."""
    body_grace: Wait = timedelta(seconds=10)
    """Time before `min_rate` is enforced (408 while sending)."""
    max_keys: Annotated[int, Field(ge=1, le=100_000_000)] = 1_000_000
    """Keys of rate limits that are remembered, over all limits; fixed from start to stop."""
    cache_size: Annotated[ByteSize, Field(ge=2**20)] = 64 * 1024 * 1024
    """Memory of the response cache, over all routes; fixed from start to stop."""
    max_memory: Annotated[ByteSize, Field(ge=16 * 1024 * 1024)] | None = None
    """Memory of the process near which it sheds load: at 85 % idle connections are closed, at 90 % new requests refused
    (503), at 95 % no connections accepted. Without it the limit of the control group, if there is one."""
    drain_timeout: Wait = timedelta(seconds=30)
    """How long exchanges may take to finish after a stop was asked for."""
    stuck_timeout: Annotated[Duration, Field(ge=timedelta(seconds=1))] = timedelta(seconds=10)
    """How long a worker may be stuck in a hook before its connections are reset and another thread takes its place."""
    http2: Http2Limits = Http2Limits()
    """Bounds of connections that speak HTTP/2."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[LimitsFields]) -> None: ...


def _account(text: str) -> str:
    if not _ACCOUNT.fullmatch(text):
        raise refusal("must be the name or the number of an account", "`getent passwd` and `getent group` list them")
    return text


Account = Annotated[str, BeforeValidator(number_as_text, json_schema_input_type=str | int), AfterValidator(_account)]
"""Name or number of a user or a group of this machine."""


def _listeners(value: Any) -> Any:
    given = number_as_text(value)
    return [given] if isinstance(given, str) else value


def _one_as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Config(Settings):
    """Everything that a person says about a gateway."""

    listeners: Annotated[
        tuple[Listener, ...], BeforeValidator(_listeners, json_schema_input_type=list[Listener | str] | str)
    ] = (Listener(address="127.0.0.1:8080"),)
    """Where clients connect."""
    workers: Annotated[Positive, Field(le=1024)] | None = None
    """Number of data-plane threads; one per core that this process may use if none is given."""
    user: Account | None = None
    """User that a gateway which was started as root becomes once its sockets are bound and its files are read,
    before it serves anything. The state folder and log files are that user's. Like `group`, it is of this node alone
    and stays until the gateway is started again."""
    group: Account | None = None
    """Group of that user; the one that the user has if none is given."""
    trusted_proxies: tuple[Network, ...] = ()
    """Addresses and networks whose `X-Forwarded-…` fields are believed."""
    hosts: Annotated[tuple[HostName, ...], BeforeValidator(split_words, json_schema_input_type=str | list[str])] = ()
    """Hosts that are answered, without port; `*.example.org` for any labels in front. Requests for others get 421. All
    are answered if none is given."""
    via: bool = True
    """Add `Via: 1.1 pylae` to what goes to services, and to their answers (RFC 9110 section 7.6.3). A service may treat
    requests with `Via` differently: nginx does not compress answers to them unless `gzip_proxied` says so."""
    limits: Limits = Limits()
    """Bounds and deadlines of the client side."""
    auth: AuthConfig | None = None
    """Authenticators."""
    include: Annotated[tuple[str, ...], BeforeValidator(_one_as_list, json_schema_input_type=str | list[str])] = ()
    """Further files, by their names or by patterns such as `routes/*.yaml`, relative to this one. They have `services`
    and `routes`, which count as if they stood here behind those that do, in the order of the entries and of the names
    of files. A file that is read as the main one can include others, and nothing else can."""
    services: dict[ServiceName, Service] = {}
    """Services by name."""
    routes: tuple[Route, ...] = ()
    """Routes. The most specific one that matches a request takes it; order decides between patterns only."""
    hooks: tuple[HookSettings, ...] = ()
    """Python callables in the request path, in the order in which a request meets them."""
    plugins: tuple[PluginUse, ...] = ()
    """Plugins in the request path, behind `hooks`."""
    policies: PolicySet = PolicySet()
    """Policies of every route. A route overrides each by its name, or switches it off with `false`."""
    errors: ErrorPages = {}
    """Error pages in place of the gateway's own error bodies, by status (`404`, `4xx`, `5xx`, `default`) and format
    (`html`, `json`): names of files, relative to the configuration."""
    health: Thresholds = Thresholds()
    """When the gateway calls itself degraded or unhealthy."""
    admin: Switch[Admin] = None
    """The admin API; on 127.0.0.1:9901 unless said otherwise, `false` for none."""
    state: Annotated[str, Field(min_length=1)] | None = None
    """Folder, relative to the configuration, for what outlives a restart: the admin token, a configuration applied over
    the admin API, registered instances; and for the socket that `pylae status` and the other verbs speak to. Without it
    a folder of its own in the user's state directory."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ConfigFields]) -> None: ...


def has_authenticator(config: Config) -> bool:
    """Whether any authenticator is configured; `auth: {}` is none."""
    return config.auth is not None and bool(config.auth.authenticators)


def requires_users(config: Config) -> bool:
    """Whether any route asks who the user is."""
    return any(route.auth_required or route.auth for route in config.routes)


def available_cores() -> int:
    """Cores that this process may use, at least one."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
