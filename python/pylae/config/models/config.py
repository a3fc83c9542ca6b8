"""The whole configuration. These models define it; YAML is one way to write it."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pylae.cluster.settings import Cluster
from pylae.config.models.address import ListenAddress, number_as_text
from pylae.config.models.admin import Admin
from pylae.config.models.auth import AuthConfig
from pylae.config.models.base import Network, Positive, Settings, Switch, refusal, split_words
from pylae.config.models.errors import ErrorPages
from pylae.config.models.hooks import HookSet, PluginUse
from pylae.config.models.route import HostName, Route
from pylae.config.models.service import Service, ServiceName
from pylae.config.models.tls import ListenerTls
from pylae.fleet.settings import RolloutSettings
from pylae.logs.settings import LogSettings
from pylae.monitoring import Thresholds
from pylae.policies import PolicySet
from pylae.store.settings import StoreSettings
from pylae.telemetry.settings import Telemetry
from pylae.units import ByteSize, Duration, Wait, between

if TYPE_CHECKING:
    from pylae.settings.fields import ConfigFields, Http2LimitsFields, LimitsFields, ListenerFields

_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\$?|[0-9]{1,9}")


class Listener(Settings):
    """An address that clients connect to. A text is short for `address`."""

    short = {"type": "string"}

    address: ListenAddress
    """`ip:port`. Port 0 picks a free port."""
    http2: bool | None = None
    """Whether to speak HTTP/2. With TLS, clients choose it in the handshake; this is on by default. Without TLS,
    clients that know it may start with it (RFC 9113 section 3.3); this is off by default."""
    tls: ListenerTls | None = None
    """TLS for this listener. Without it, others on the network can read and change the traffic."""
    proxy_protocol: bool | tuple[Network, ...] = False
    """Addresses and networks of TCP proxies that report the client's address with the PROXY protocol, version 1 or 2.
    `true` means those under `trusted_proxies`. The listener then refuses all other peers, and connections without the
    header."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ListenerFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        given = number_as_text(value)
        return {"address": given} if isinstance(given, str) else value


class Http2Limits(Settings):
    """Limits of one client's HTTP/2 connection. For request heads, `limits` apply."""

    max_streams: Annotated[Positive, Field(le=10_000)] = 100
    """Most requests at once on a connection. Further ones are refused with REFUSED_STREAM."""
    max_resets: Annotated[Positive, Field(le=100_000)] = 200
    """Most streams that may be reset in a burst, by the client or because of its errors. Each request that completes
    allows one more, and each minute allows this many more. A client that exceeds it is disconnected with
    ENHANCE_YOUR_CALM."""
    max_idle_frames: Annotated[Positive, Field(le=1_000_000)] = 1000
    """Most frames in a burst that carry neither a head nor body bytes (SETTINGS, PING, WINDOW_UPDATE, PRIORITY,
    CONTINUATION, empty DATA). Data sent to the client allows more, and so does time. A client that exceeds it is
    disconnected with ENHANCE_YOUR_CALM."""
    stream_window: Annotated[ByteSize, Field(ge=16 * 1024, le=2**30)] = 256 * 1024
    """Bytes of one request body that the gateway buffers before it sends them on."""
    connection_window: Annotated[ByteSize, Field(ge=64 * 1024, le=2**30)] = 1024 * 1024
    """Bytes of all request bodies of a connection that the gateway buffers."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[Http2LimitsFields]) -> None: ...


class Limits(Settings):
    """Limits and timeouts for clients."""

    main = ("max_body",)

    max_connections: Positive = 10_000
    """Most open client connections. At the limit, the gateway closes an idle connection for each new one, or refuses
    the new one. If the limit on file descriptors is too low for this number of client connections and as many
    connections to instances, the gateway admits fewer."""
    max_requests: Positive = 10_000
    """Most requests in progress. Further ones get 503."""
    max_head: Annotated[ByteSize, Field(ge=1024, le=2**20)] = 32 * 1024
    """Largest request head (431)."""
    max_fields: Annotated[Positive, Field(le=10_000)] = 100
    """Most request fields (431)."""
    max_target: Annotated[ByteSize, Field(ge=64, le=2**20)] = 8 * 1024
    """Longest request target, that is path and query (414)."""
    max_body: ByteSize = 10 * 1024 * 1024
    """Largest request body (413), unless a policy of the route sets another limit. The bytes are counted as they
    pass."""
    head_timeout: Duration = timedelta(seconds=10)
    """Total time to receive a request head (408)."""
    keep_alive: Wait = timedelta(seconds=75)
    """How long a connection may be idle between requests."""
    min_rate: ByteSize = 100
    """Lowest average rate, in bytes per second, at which a client may send a body or read a response. Bytes count as
    read once the client's kernel has acknowledged them. 0 means no limit."""
    body_grace: Wait = timedelta(seconds=10)
    """How long a client may be slower than `min_rate`. After that, a client that is sending a body gets 408."""
    max_keys: Annotated[int, Field(ge=1, le=100_000_000)] = 1_000_000
    """Most keys that rate limits remember, over all limits. A reload cannot change it."""
    cache_size: Annotated[ByteSize, Field(ge=2**20)] = 64 * 1024 * 1024
    """Memory of the response cache, for all routes together. A reload cannot change it."""
    max_memory: Annotated[ByteSize, Field(ge=16 * 1024 * 1024)] | None = None
    """Memory of the process at which it sheds load: at 85 % it closes idle connections, at 90 % it refuses new requests
    (503), at 95 % it accepts no connections. The default is the limit of the control group, if there is one."""
    drain_timeout: Wait = timedelta(seconds=30)
    """How long requests in progress may take to finish after a stop."""
    stuck_timeout: Annotated[Duration, between(timedelta(seconds=1))] = timedelta(seconds=10)
    """How long a hook may block a worker. After that, the gateway resets the worker's connections and starts another
    thread in its place."""
    http2: Http2Limits = Http2Limits()
    """Limits of HTTP/2 connections."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[LimitsFields]) -> None: ...


def _account(text: str) -> str:
    if not _ACCOUNT.fullmatch(text):
        raise refusal("must be the name or the number of an account", "`getent passwd` and `getent group` list them")
    return text


Account = Annotated[str, BeforeValidator(number_as_text, json_schema_input_type=str | int), AfterValidator(_account)]
"""Name or number of a user or group of this machine."""


def _listeners(value: Any) -> Any:
    given = number_as_text(value)
    return [given] if isinstance(given, str) else value


def _one_as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Config(Settings):
    """The configuration of a gateway."""

    listeners: Annotated[
        tuple[Listener, ...], BeforeValidator(_listeners, json_schema_input_type=list[Listener | str] | str)
    ] = (Listener(address="127.0.0.1:8080"),)
    """Addresses that clients connect to."""
    workers: Annotated[Positive, Field(le=1024)] | None = None
    """Number of worker threads. The default is one per core that the process may use."""
    user: Account | None = None
    """User to switch to if the gateway was started as root: after it has bound its sockets and read its files, before
    it serves requests. The state folder and log files belong to this user. Like `group`, this setting belongs to the
    node, and a change needs a restart."""
    group: Account | None = None
    """Group to switch to, together with `user`. The default is the user's own group."""
    trusted_proxies: tuple[Network, ...] = ()
    """Addresses and networks of proxies whose `X-Forwarded-…` fields the gateway believes."""
    hosts: Annotated[tuple[HostName, ...], BeforeValidator(split_words, json_schema_input_type=str | list[str])] = ()
    """Host names that the gateway serves, without port; `*.example.org` matches all subdomains. Requests for other
    hosts get 421. The default is all hosts."""
    via: bool = True
    """Add `Via: 1.1 pylae` to requests to services, and to their responses (RFC 9110 section 7.6.3). Some services
    treat requests with `Via` differently: nginx does not compress responses to them unless `gzip_proxied` allows it."""
    cluster: Cluster | None = None
    """Several gateways that share limits through a store, Valkey or Redis. Like `user`, this setting belongs to the
    node, and a change needs a restart. By default a gateway counts alone."""
    limits: Limits = Limits()
    """Limits and timeouts for clients."""
    auth: AuthConfig | None = None
    """Authenticators, which find out which user sent a request."""
    include: Annotated[tuple[str, ...], BeforeValidator(_one_as_list, json_schema_input_type=str | list[str])] = ()
    """Further files with `services` and `routes`: names, or patterns such as `routes/*.yaml`, relative to this file.
    Their content is appended to that of this file, in the order of the entries and, within a pattern, of the file
    names. Only the main file can include others."""
    services: dict[ServiceName, Service] = {}
    """Services by name."""
    routes: tuple[Route, ...] = ()
    """Routes. The most specific route that matches a request takes it. Their order matters only between patterns."""
    hooks: HookSet = HookSet()
    """Python functions that see requests and responses, in the order in which a request meets them, and the processes
    that run them."""
    plugins: tuple[PluginUse, ...] = ()
    """Plugins, which run after `hooks`."""
    policies: PolicySet = PolicySet()
    """Policies for all routes. A route can override each of them by its name, or switch it off with `false`."""
    errors: ErrorPages = {}
    """Error pages that replace the gateway's own error bodies, by status (`404`, `4xx`, `5xx`, `default`) and format
    (`html`, `json`). File names are relative to the configuration."""
    log: LogSettings = LogSettings()
    """The gateway's own log: its level, in all or by area, and its format."""
    health: Thresholds = Thresholds()
    """Thresholds at which the gateway reports itself as degraded or unhealthy."""
    admin: Switch[Admin] = None
    """The admin API. The default address is 127.0.0.1:9901; `false` switches the API off."""
    telemetry: Telemetry | None = None
    """What is sent to OpenTelemetry collectors: traces, metrics, and the access log."""
    state: Annotated[str, Field(min_length=1)] | None = None
    """Folder, relative to the configuration, for what outlives a restart: the admin token, a configuration applied over
    the admin API, and registered instances. It also contains the socket for `pylae status` and other commands. The
    default is a folder for this gateway in the user's state directory."""
    store: StoreSettings = StoreSettings()
    """Where the gateway keeps what people change: SQLite in the state folder, or PostgreSQL or etcd for several
    gateways. Like `user`, this setting belongs to the node, and a change needs a restart."""
    rollout: RolloutSettings = RolloutSettings()
    """How this configuration is rolled out to the nodes that share a `store`."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ConfigFields]) -> None: ...


def has_authenticator(config: Config) -> bool:
    """Returns true if at least one authenticator is configured. `auth: {}` has none."""
    return config.auth is not None and bool(config.auth.authenticators)


def requires_users(config: Config) -> bool:
    """Returns true if at least one route asks for a user."""
    return any(route.auth_required or route.auth for route in config.routes)


def available_cores() -> int:
    """Returns the number of cores that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
