"""What may be written for each setting, short forms included: the keywords of the models, and mappings in their place.

`RouteFields` are the keywords of `Route`; `RouteLike` is whatever stands for one. Written by python/fields.py from the
models, whose docstrings are what is to be edited.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Required, TypeAlias, TypedDict

from pydantic import SecretStr

from pylae.cluster.settings import Cluster
from pylae.config.models.admin import Admin
from pylae.config.models.auth import AuthConfig
from pylae.config.models.authenticators.api_key import ApiKey, Consumer
from pylae.config.models.authenticators.basic import Account, Basic
from pylae.config.models.authenticators.binding import Dpop
from pylae.config.models.authenticators.client_certificate import CertifiedUser, ClientCertificate
from pylae.config.models.authenticators.forward_auth import ForwardAuth, ForwardAuthHeaders
from pylae.config.models.authenticators.function import AuthenticatorOptions, AuthenticatorUse, FunctionAuthenticator
from pylae.config.models.authenticators.introspection import Introspection
from pylae.config.models.authenticators.jwt import ClaimNames, Jwt
from pylae.config.models.authenticators.oidc import Oidc
from pylae.config.models.condition import ValueTest
from pylae.config.models.config import Config, Http2Limits, Limits, Listener
from pylae.config.models.hooks import CallOptions, HookOptions, HookSet, HookSettings, PluginUse
from pylae.config.models.instance import Instance
from pylae.config.models.route import Route
from pylae.config.models.service import (
    CircuitBreaker,
    ClientCredentials,
    HealthCheck,
    LoadBalancer,
    PassiveHealth,
    Queue,
    RetryBudget,
    Service,
    Sticky,
)
from pylae.config.models.split import MemberHeaders, SplitMember, SplitSticky, When
from pylae.config.models.tls import CertifiedKey, ClientAuth, ListenerTls, ServiceTls
from pylae.config.models.websocket import WebSocket
from pylae.fleet.settings import RolloutSettings
from pylae.logs.settings import LogSettings
from pylae.monitoring import Thresholds
from pylae.policies import PolicySet
from pylae.policies.access_log import AccessLog
from pylae.policies.address_limit import AddressConcurrency, AddressLimit, AddressLimits
from pylae.policies.cache import Cache
from pylae.policies.compression import Compression
from pylae.policies.cors import Cors
from pylae.policies.ip_access import IpAccess
from pylae.policies.mirror import Mirror
from pylae.policies.rate_limit import Concurrency, RateLimit, RateLimits
from pylae.policies.redirect import Redirect
from pylae.policies.require import ClaimTest, Require
from pylae.policies.security_headers import Hsts, SecurityHeaders
from pylae.policies.static_response import StaticResponse
from pylae.policies.transform import Changes, Transform
from pylae.policies.validation import JsonBody, Validation
from pylae.registry.kinds import Discovery
from pylae.registry.sources.consul import ConsulDiscovery
from pylae.registry.sources.dns import DnsDiscovery
from pylae.registry.sources.docker import DockerDiscovery
from pylae.registry.sources.file import FileDiscovery
from pylae.registry.sources.heartbeat import HeartbeatDiscovery
from pylae.store.settings import StoreSettings
from pylae.telemetry.settings import ExportedLogs, ExportedMetrics, Keep, Telemetry, Traces
from pylae.units import DurationLike, RateLike, SizeLike

Texts: TypeAlias = list[str] | tuple[str, ...]
"""Several texts. A text alone is not meant, although to a type checker it is a sequence of texts."""

BalancerKind: TypeAlias = Literal[
    "round_robin", "weighted_round_robin", "least_connections", "random", "ip_hash", "consistent_hash", "p2c", "maglev"
]


class CertifiedKeyFields(TypedDict, total=False):
    """Fields of `CertifiedKey`."""

    cert: Required[str]
    """PEM file with the certificate and the intermediate certificates, in this order."""
    key: Required[str]
    """PEM file with the private key, without a passphrase."""


class ClientAuthFields(TypedDict, total=False):
    """Fields of `ClientAuth`."""

    ca: Required[str]
    """PEM file with the certificates of the trusted authorities."""
    mode: Literal["required", "optional"]
    """`required` refuses clients without a certificate. With `optional`, each route decides, by the authenticator
    `client_certificate`. Invalid certificates are refused in both modes."""


class ListenerTlsFields(TypedDict, total=False):
    """Fields of `ListenerTls`."""

    certificates: CertifiedKeyLike | Sequence[CertifiedKeyLike]
    """Certificates. The server name that the client asks for decides which one it gets; clients that ask for no known
    name get the first. You can replace the files while the gateway runs."""
    auto: bool
    """Create a certificate for this machine and keep it in the user's state directory. For development."""
    min_version: Literal["1.2", "1.3"] | float
    """Oldest TLS version to accept."""
    client_auth: ClientAuthLike | None
    """Client certificates. Not requested unless given."""
    session_tickets: bool
    """Let clients resume a session. This saves them a round trip, and both sides a signature."""
    handshake_timeout: DurationLike
    """Total time for a handshake."""
    cert: str
    """PEM file with the certificate and the intermediate certificates, in this order."""
    key: str
    """PEM file with the private key, without a passphrase."""


class ListenerFields(TypedDict, total=False):
    """Fields of `Listener`."""

    address: Required[str]
    """`ip:port`. Port 0 picks a free port."""
    http2: bool | None
    """Whether to speak HTTP/2. With TLS, clients choose it in the handshake; this is on by default. Without TLS,
    clients that know it may start with it (RFC 9113 section 3.3); this is off by default."""
    tls: ListenerTlsLike | None
    """TLS for this listener. Without it, others on the network can read and change the traffic."""
    proxy_protocol: bool | Texts
    """Addresses and networks of TCP proxies that report the client's address with the PROXY protocol, version 1 or 2.
    `true` means those under `trusted_proxies`. The listener then refuses all other peers, and connections without the
    header."""


class ServiceTlsFields(TypedDict, total=False):
    """Fields of `ServiceTls`."""

    verify: bool
    """Verify the certificates of instances. Without this, anyone on the network can pose as an instance."""
    ca: str | None
    """PEM file with the trusted authorities, or with self-signed certificates of instances. The default is the system's
    authorities."""
    server_name: str | None
    """Server name to ask for, which the certificate must contain. The default is the host of each instance's URL."""
    cert: str | None
    """PEM file with the gateway's own certificate and intermediate certificates, for instances that request one."""
    key: str | None
    """PEM file with the private key of `cert`."""
    min_version: Literal["1.2", "1.3"] | float
    """Oldest TLS version to accept."""


class ClusterFields(TypedDict, total=False):
    """Fields of `Cluster`."""

    name: Required[str]
    """Name of the cluster. Several clusters with different names can use one store."""
    store: Required[str]
    """Where the store is: `valkey://host:port` or `valkey://host:port/database` for one server,
    `valkey+sentinel://host:port,host:port/name` for servers behind Sentinels, `valkey+cluster://host:port,host:port`
    for a Cluster. `valkeys` in place of `valkey` means TLS. `redis` and `rediss` mean the same as `valkey` and
    `valkeys`."""
    node: str | None
    """Name of this node, which no other node should have. The default is the host's name with something unique."""
    user: str | None
    """User of the store, as its ACL has it. The default is the user `default`."""
    password: str | SecretStr | None
    """Password of the user."""
    sentinel_user: str | None
    """User of the Sentinels, if they have users."""
    sentinel_password: str | SecretStr | None
    """Password of the Sentinels, if they have one."""
    tls: ServiceTlsLike | None
    """TLS to the store: whom the gateway trusts, and which certificate it presents. Only with `valkeys`."""
    timeout: DurationLike
    """How long a node waits for an answer of the store. After that, and as long as the store does not answer, each
    limit does what `on_store_error` says."""
    flush: DurationLike
    """How often a node tells the store what limits with `mode: fast` have admitted. More often means fewer requests
    beyond a limit, and more work for the store."""
    on_store_error: Literal["share", "allow", "deny"]
    """What limits do while the store does not answer. With `share`, each node enforces its share of the limit, that is
    the limit divided by the number of nodes. `allow` admits all requests, `deny` none."""
    wait_replicas: int
    """Number of replicas of the store that must have what `mode: exact` takes before a request is admitted, so that it
    is not lost if the primary fails. Each such request then waits for them as well."""


class Http2LimitsFields(TypedDict, total=False):
    """Fields of `Http2Limits`."""

    max_streams: int
    """Most requests at once on a connection. Further ones are refused with REFUSED_STREAM."""
    max_resets: int
    """Most streams that may be reset in a burst, by the client or because of its errors. Each request that completes
    allows one more, and each minute allows this many more. A client that exceeds it is disconnected with
    ENHANCE_YOUR_CALM."""
    max_idle_frames: int
    """Most frames in a burst that carry neither a head nor body bytes (SETTINGS, PING, WINDOW_UPDATE, PRIORITY,
    CONTINUATION, empty DATA). Data sent to the client allows more, and so does time. A client that exceeds it is
    disconnected with ENHANCE_YOUR_CALM."""
    stream_window: SizeLike
    """Bytes of one request body that the gateway buffers before it sends them on."""
    connection_window: SizeLike
    """Bytes of all request bodies of a connection that the gateway buffers."""


class LimitsFields(TypedDict, total=False):
    """Fields of `Limits`."""

    max_connections: int
    """Most open client connections. At the limit, the gateway closes an idle connection for each new one, or refuses
    the new one. If the limit on file descriptors is too low for this number of client connections and as many
    connections to instances, the gateway admits fewer."""
    max_requests: int
    """Most requests in progress. Further ones get 503."""
    max_head: SizeLike
    """Largest request head (431)."""
    max_fields: int
    """Most request fields (431)."""
    max_target: SizeLike
    """Longest request target, that is path and query (414)."""
    max_body: SizeLike
    """Largest request body (413), unless a policy of the route sets another limit. The bytes are counted as they
    pass."""
    head_timeout: DurationLike
    """Total time to receive a request head (408)."""
    keep_alive: DurationLike
    """How long a connection may be idle between requests."""
    min_rate: SizeLike
    """Lowest average rate, in bytes per second, at which a client may send a body or read a response. Bytes count as
    read once the client's kernel has acknowledged them. 0 means no limit."""
    body_grace: DurationLike
    """How long a client may be slower than `min_rate`. After that, a client that is sending a body gets 408."""
    max_keys: int
    """Most keys that rate limits remember, over all limits. A reload cannot change it."""
    cache_size: SizeLike
    """Memory of the response cache, for all routes together. A reload cannot change it."""
    max_memory: SizeLike | None
    """Memory of the process at which it sheds load: at 85 % it closes idle connections, at 90 % it refuses new requests
    (503), at 95 % it accepts no connections. The default is the limit of the control group, if there is one."""
    drain_timeout: DurationLike
    """How long requests in progress may take to finish after a stop."""
    stuck_timeout: DurationLike
    """How long a hook may block a worker. After that, the gateway resets the worker's connections and starts another
    thread in its place."""
    http2: Http2LimitsLike
    """Limits of HTTP/2 connections."""


class ClaimNamesFields(TypedDict, total=False):
    """Fields of `ClaimNames`."""

    id: str | Texts
    """The user's id: a text or a whole number."""
    email: str | Texts
    """The e-mail address."""
    role: str | Texts
    """The role: a text, or a list of texts for several."""
    permissions: str | Texts
    """The permissions: a list of texts, or one text separated by spaces."""


class DpopFields(TypedDict, total=False):
    """Fields of `Dpop`."""

    required: bool
    """Refuse tokens that are not bound to a key."""
    max_age: DurationLike
    """How old a proof may be, besides `leeway`. The gateway remembers used proofs as long."""
    nonce: bool
    """Demand that proofs repeat a value of the gateway (`DPoP-Nonce`), so that nobody can make them in advance."""
    nonce_secret: str | SecretStr | None
    """Secret of which nonces are made, 32 bytes or more: the same on all nodes behind one address. Without it, each
    process makes its own up."""
    algorithms: (
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
        | Sequence[Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]]
    )
    """Accepted algorithms of proofs."""


class JwtFields(TypedDict, total=False):
    """Fields of `Jwt`."""

    name: str
    """Name by which routes choose it. Required if there are several."""
    secret: str | Sequence[str | SecretStr] | SecretStr | None
    """Secret for HS256, HS384 or HS512. If there are several, all are accepted, and the first one signs."""
    public_key: str | Texts | None
    """Public keys in PEM: RSA, P-256, P-384, P-521 or Ed25519. `${file:key.pem}` reads a file."""
    jwks: str | Mapping[str, Any] | None
    """A JWK set (RFC 7517). `${file:keys.json}` reads a file."""
    jwks_url: str | None
    """URL of a JWK set. The gateway fetches it every `refresh`, and when a token names an unknown key."""
    algorithms: (
        Literal[
            "HS256",
            "HS384",
            "HS512",
            "RS256",
            "RS384",
            "RS512",
            "PS256",
            "PS384",
            "PS512",
            "ES256",
            "ES384",
            "ES512",
            "EdDSA",
        ]
        | Sequence[
            Literal[
                "HS256",
                "HS384",
                "HS512",
                "RS256",
                "RS384",
                "RS512",
                "PS256",
                "PS384",
                "PS512",
                "ES256",
                "ES384",
                "ES512",
                "EdDSA",
            ]
        ]
    )
    """Accepted algorithms. The default is the usual one of each key: HS256, RS256, ES256, ES384, ES512 or EdDSA. The
    token itself never decides."""
    issuer: str | Texts
    """Accepted issuers (`iss`). The default is all."""
    audience: str | Texts
    """Accepted audiences (`aud`), one of which a token must name. The default is all."""
    required_claims: str | Texts
    """Claims that every token must have."""
    leeway: DurationLike
    """Allowed difference between the clocks of gateway and issuer."""
    claims: ClaimNamesLike
    """Names of the claims that describe the user."""
    max_size: SizeLike
    """Largest token. Larger ones are refused."""
    refresh: DurationLike
    """How often to fetch `jwks_url`. A token with an unknown key also triggers a fetch, at most every 30 seconds."""
    dpop: DpopLike | None
    """Proofs of possession of a token's key. Understood without this setting too."""
    certificate_bound: Literal["accepted", "required"]
    """`required`: refuse tokens that are not bound to the client's certificate. A token that is bound to one is always
    refused without it."""
    forward_credentials: bool
    """Send the token to instances, on all routes, and the proof of DPoP with it."""


class IntrospectionFields(TypedDict, total=False):
    """Fields of `Introspection`."""

    timeout: DurationLike
    """Longest wait for an answer of the server. After that, the request gets 503."""
    ca: str | None
    """PEM file with the authorities to trust for `https://`; those of the system by default."""
    name: str
    """Name by which routes choose it. Required if there are several."""
    endpoint: str | None
    """URL of the introspection endpoint. By default what the issuer's discovery document says."""
    issuer: str | None
    """URL of the issuer. An answer that names another one (`iss`) is refused."""
    client_id: Required[str]
    """The gateway's id at the issuer."""
    client_secret: str | SecretStr | None
    """The gateway's secret at the issuer. Without one, only `client_id` is sent."""
    client_auth: Literal["basic", "post"]
    """How the secret is sent: in `Authorization: Basic`, or in the body."""
    audience: str | Texts
    """Accepted audiences (`aud`), one of which the answer must name. The default is all."""
    claims: ClaimNamesLike
    """Names of the members of an answer that describe the user."""
    leeway: DurationLike
    """Allowed difference between the clocks of gateway and issuer."""
    cache: DurationLike
    """Longest time for which an answer is remembered, at most until the token expires. That a token is not active is
    remembered too. A token that is revoked at the issuer is accepted for this long."""
    jwt: bool
    """Ask for signed answers (RFC 9701) and accept no others. `issuer` is required, whose keys verify them."""
    max_size: SizeLike
    """Largest token. Larger ones are refused."""
    dpop: DpopLike | None
    """Proofs of possession of a token's key. Understood without this setting too, if the answer has `cnf`."""
    certificate_bound: Literal["accepted", "required"]
    """`required`: refuse tokens that are not bound to the client's certificate. A token that is bound to one is always
    refused without it."""
    forward_credentials: bool
    """Send the token to instances, on all routes, and the proof of DPoP with it."""


class ConsumerFields(TypedDict, total=False):
    """Fields of `Consumer`."""

    keys: Required[str | Texts]
    """SHA-256 of each key, in hex. Give several while you replace a key."""
    email: str
    """E-mail address."""
    role: str
    """Role."""
    permissions: str | Texts
    """Permissions of the consumer."""


class ApiKeyFields(TypedDict, total=False):
    """Fields of `ApiKey`."""

    header: str | Literal[False] | None
    """Request field with the key; `false` for none."""
    query: str | None
    """Query parameter with the key. Off by default, because URLs end up in logs."""
    consumers: Required[Mapping[str, ConsumerLike]]
    """Consumers by name. The name is the user's id."""
    forward_credentials: bool
    """Send the key to instances, on all routes."""


class AccountFields(TypedDict, total=False):
    """Fields of `Account`."""

    password_hash: Required[str | SecretStr]
    """Hash of the password: Argon2id (`$argon2id$…`) or bcrypt (`$2b$…`)."""
    email: str
    """E-mail address."""
    role: str
    """Role."""
    permissions: str | Texts
    """Permissions of the user."""


class BasicFields(TypedDict, total=False):
    """Fields of `Basic`."""

    users: Required[Mapping[str, AccountLike]]
    """Users by name. The name is the user's id."""
    remember: DurationLike
    """How long a verified password is remembered, because verifying one is slow on purpose."""
    forward_credentials: bool
    """Send name and password to instances, on all routes."""


class CertifiedUserFields(TypedDict, total=False):
    """Fields of `CertifiedUser`."""

    email: str
    """E-mail address."""
    role: str
    """Role."""
    permissions: str | Texts
    """Permissions of the user."""


class ClientCertificateFields(TypedDict, total=False):
    """Fields of `ClientCertificate`."""

    id: Literal["common_name", "dns", "email", "uri"] | Sequence[Literal["common_name", "dns", "email", "uri"]]
    """Parts of the certificate that contain the user's id: the common name of the subject, or the first alternative
    name of a kind. The first part that exists counts."""
    users: Mapping[str, CertifiedUserLike] | None
    """Users by id. If given, no one else is admitted. Without it, every client with a valid certificate is a user,
    without role and permissions."""


class OidcFields(TypedDict, total=False):
    """Fields of `Oidc`."""

    name: str
    """Name by which routes choose it. Required if there are several."""
    issuer: Required[str]
    """URL of the provider, as in its tokens (`iss`); everything else is discovered there. `http://` only for this
    machine."""
    client_id: Required[str]
    """Id under which the gateway is registered at the provider."""
    client_secret: str | SecretStr | None
    """Secret of that registration. None for a public client."""
    client_auth: Literal["basic", "post", "none"] | None
    """How the secret is sent: `basic` (Authorization), `post` (in the body) or `none`. The default is what the provider
    offers, `basic` first."""
    scopes: str | Texts
    """What to ask for. `openid` is always among it; `offline_access` asks many providers for refresh tokens."""
    path: str
    """Below this path are its own: `login`, `callback`, `logout`, `backchannel-logout` and `session`. Register
    `PUBLIC_URL` + `path` + `/callback` at the provider."""
    public_url: str | None
    """Origin under which browsers reach the gateway. The default is what each request says."""
    cookie: str | None
    """Name of the session cookie. The default is `__Host-pylae-NAME` over https and `pylae-NAME` over http, where
    browsers refuse the former."""
    cookie_secret: str | Sequence[str | SecretStr] | SecretStr | None
    """Secret of at least 32 bytes that seals cookies. If there are several, the first one seals and all open. The
    default is a generated one, which is kept in the user's state directory; nodes that share a store need one here."""
    same_site: Literal["lax", "strict", "none"]
    """`SameSite` of the session cookie: to which requests of other sites browsers add it."""
    idle: DurationLike
    """A session without requests ends after this time, or up to a quarter of it earlier."""
    lifetime: DurationLike
    """A session ends after this time in any case."""
    refresh_ahead: DurationLike
    """How long before they expire tokens are refreshed."""
    claims: ClaimNamesLike
    """Names of the claims that describe the user."""
    user: str | None
    """A function `(claims) -> User | None` that makes the user, instead of `claims`; in a file, its import path
    `module:function`. None refuses the login."""
    userinfo: bool
    """Also ask the provider's userinfo endpoint for claims."""
    prompt: Literal["none", "login", "consent", "select_account"] | None
    """What the provider is to ask the person at each login."""
    extra: Mapping[str, str]
    """Further parameters of the request for authorization, such as `audience`."""
    leeway: DurationLike
    """Allowed difference between the clocks of gateway and provider."""
    logout_url: str
    """Where browsers go after a logout: a path, or an address."""
    ca: str | None
    """PEM file with the authorities that the provider's certificate may be from. The default is the system's."""


class ForwardAuthHeadersFields(TypedDict, total=False):
    """Fields of `ForwardAuthHeaders`."""

    id: str
    """The user's id."""
    email: str | None
    """The e-mail address."""
    role: str | None
    """The role, or several separated by commas."""
    permissions: str | None
    """The permissions, separated by commas or spaces."""


class ForwardAuthFields(TypedDict, total=False):
    """Fields of `ForwardAuth`."""

    timeout: DurationLike
    """Longest wait for an answer of the server. After that, the request gets 503."""
    ca: str | None
    """PEM file with the authorities to trust for `https://`; those of the system by default."""
    name: str
    """Name by which routes choose it. Required if there are several."""
    url: Required[str]
    """URL of the service."""
    forward_headers: str | Texts | None
    """Header fields of the request that the service sees besides `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and
    `-For`. The default is Authorization and Cookie. With `key`, it sees the parts of that instead."""
    headers: ForwardAuthHeadersLike
    """Header fields of the answer that describe the user. They are taken out of every client's request."""
    default_user: str | None
    """Id of the user if the service lets a request pass without one. By default nobody is known then, which is enough
    only where no user is required."""
    copy_headers: str | Texts
    """Further header fields of the answer that instances get. They are taken out of every client's request, on all
    routes, and are claims of the user, by their names in lower case."""
    cache: DurationLike | None
    """Longest time for which a verdict (2xx, 401, 403) is remembered, at most as long as its `Cache-Control` allows. By
    default each request is asked about."""
    key: str | Texts | None
    """What a verdict is remembered by: `header:NAME`, `cookie:NAME`, or several of them. Method, scheme, host, path and
    query belong to it too. The service sees nothing else of the request. No verdict is remembered for a request that
    has none of these parts."""
    key_path: bool
    """`false` leaves method, scheme, host, path and query out of `key`, and the service does not see them."""
    max_size: SizeLike
    """Largest body of an answer."""


class FunctionAuthenticatorFields(TypedDict, total=False):
    """Fields of `FunctionAuthenticator`."""

    timeout: DurationLike
    """Longest time of one call. After that, the call has failed."""
    on_error: Literal["fail", "skip"]
    """What to do if a call fails: `fail` answers 500, `skip` continues as if the function were not there."""
    blocking: bool
    """Set this if the function blocks, for example on files, databases or locks. It then runs on a pool of threads."""
    waits: bool | None
    """Whether an async function waits for something, and so must run on an asyncio loop. By default the gateway reads
    this from the function's code: a function that awaits only `call_next(…)`, `request.body()` and `request.json()`
    does not wait."""
    budget: DurationLike | None
    """Time that one call may occupy a worker. A function that repeatedly takes longer moves to the pool of threads, or
    to the asyncio loop if it is async, until the next reload. `null` never moves it."""
    body: bool | SizeLike
    """Let the function read the body. The gateway then reads the whole body into memory: up to 1 MB with `true`, or up
    to the size given here."""
    key: str | Texts | None
    """Part of the request that the function sees: `header:NAME`, `query:NAME`, `cookie:NAME`, `client_certificate`, or
    several of them. The function is not called for requests without it. By default the function sees the whole
    request."""
    cache: DurationLike | None
    """How long a result is remembered, by the value of `key`. A reload and the revocation of the user end it."""
    challenge: str | None
    """Scheme in the `WWW-Authenticate` of a 401, such as `Bearer`. The default is the authenticator's name."""
    forward_credentials: bool
    """Send the header fields and query parameters of `key` to instances."""
    paths: str | Texts
    """Paths that the authenticator serves itself, independent of routes, such as the callback of a login. For these
    requests the function sees the whole request, including the body if `body` is set, and must return a response."""
    function: Required[Callable[..., Any] | str]
    """The function; in a file, its import path `module:function`."""


class AuthenticatorUseFields(TypedDict, total=False):
    """Fields of `AuthenticatorUse`."""

    timeout: DurationLike
    """Longest time of one call. After that, the call has failed."""
    on_error: Literal["fail", "skip"]
    """What to do if a call fails: `fail` answers 500, `skip` continues as if the function were not there."""
    blocking: bool
    """Set this if the function blocks, for example on files, databases or locks. It then runs on a pool of threads."""
    waits: bool | None
    """Whether an async function waits for something, and so must run on an asyncio loop. By default the gateway reads
    this from the function's code: a function that awaits only `call_next(…)`, `request.body()` and `request.json()`
    does not wait."""
    budget: DurationLike | None
    """Time that one call may occupy a worker. A function that repeatedly takes longer moves to the pool of threads, or
    to the asyncio loop if it is async, until the next reload. `null` never moves it."""
    body: bool | SizeLike
    """Let the function read the body. The gateway then reads the whole body into memory: up to 1 MB with `true`, or up
    to the size given here."""
    key: str | Texts | None
    """Part of the request that the function sees: `header:NAME`, `query:NAME`, `cookie:NAME`, `client_certificate`, or
    several of them. The function is not called for requests without it. By default the function sees the whole
    request."""
    cache: DurationLike | None
    """How long a result is remembered, by the value of `key`. A reload and the revocation of the user end it."""
    challenge: str | None
    """Scheme in the `WWW-Authenticate` of a 401, such as `Bearer`. The default is the authenticator's name."""
    forward_credentials: bool
    """Send the header fields and query parameters of `key` to instances."""
    paths: str | Texts
    """Paths that the authenticator serves itself, independent of routes, such as the callback of a login. For these
    requests the function sees the whole request, including the body if `body` is set, and must return a response."""
    use: Required[str]
    """Name of an installed authenticator (entry point group `pylae.authenticators`), or an import path
    `module:Class`."""
    settings: Mapping[str, Any]
    """Settings of the authenticator itself."""


class AuthConfigFields(TypedDict, total=False):
    """Fields of `AuthConfig`."""

    jwt: JwtLike | Sequence[JwtLike]
    """JSON Web Tokens. For several issuers, a list, each with a `name`."""
    introspection: IntrospectionLike | Sequence[IntrospectionLike]
    """Tokens whose issuer is asked about them. For several issuers, a list, each with a `name`. It is not asked about
    tokens that `jwt` recognises as its own."""
    api_key: ApiKeyLike | None
    """API keys of programs."""
    basic: BasicLike | None
    """User names and passwords (HTTP Basic)."""
    client_certificate: ClientCertificateLike | bool | None
    """Client certificates (mutual TLS)."""
    oidc: OidcLike | Sequence[OidcLike]
    """Logins at OpenID providers. For several, a list, each with a `name`."""
    forward_auth: ForwardAuthLike | Sequence[ForwardAuthLike]
    """Services that decide about each request. For several, a list, each with a `name`."""
    functions: Mapping[str, FunctionAuthenticatorLike]
    """Python functions that authenticate clients, by name. Routes choose them by these names."""
    plugins: Mapping[str, AuthenticatorUseLike]
    """Authenticators of installed distributions, by name. Routes choose them by these names."""
    failure_limit: RateLike | Literal[False] | None
    """Most failed authentications of one client address; further ones get 429. IPv6 addresses are counted by /64, with
    four times the limit for a /56 and sixteen times for a /48. `false` switches the limit off."""
    realm: str
    """Realm in the challenges (`WWW-Authenticate`)."""
    admin_role: str
    """Role that has every permission. Empty for none."""


class InstanceFields(TypedDict, total=False):
    """Fields of `Instance`."""

    url: Required[str]
    """`http://host:port`, or `https://host:port` for TLS."""
    weight: int
    """Share of the load, relative to the other instances."""


class DnsDiscoveryFields(TypedDict, total=False):
    """Fields of `DnsDiscovery`."""

    name: Required[str]
    """Domain name to look up."""
    port: int | None
    """Port of the instances, whose addresses come from A and AAAA records. Without it, the gateway looks up SRV
    records, which contain ports and weights; of several priorities, only the lowest number counts."""
    scheme: Literal["http", "https"]
    """Protocol of the instances."""
    family: Literal["any", "ipv4", "ipv6"]
    """Which addresses to use."""
    resolvers: Texts
    """Name servers, as `ip` or `ip:port`. The default is those of the system."""
    timeout: DurationLike
    """Longest wait for an answer."""
    min_ttl: DurationLike
    """Shortest time between two look-ups, even if the TTL of the records is shorter."""
    max_ttl: DurationLike
    """Longest time between two look-ups, even if the TTL of the records is longer."""
    retry: DurationLike
    """Time between a failed look-up and the next one. The instances stay however often it fails."""
    gone_after: DurationLike
    """How long the name servers must answer that the name or its records do not exist before the instances leave."""
    scope: Literal["node", "cluster"] | None
    """Who looks it up. `cluster`, the default for a gateway that is a node of a cluster: one node asks the name
    servers, and the others take its answer. `node`: each node asks, for name servers that do not answer all alike."""


class FileDiscoveryFields(TypedDict, total=False):
    """Fields of `FileDiscovery`."""

    path: Required[str]
    """The file, relative to the folder of the configuration. It maps names of services to lists of instances."""
    interval: DurationLike
    """Time between two looks at the file. A replaced file is read at once. A file that is written in place is read once
    it no longer changes between two looks."""
    scope: Literal["node", "cluster"]
    """Whose file counts. `node`: each node has its own. `cluster`: of the files of all nodes, the one that was modified
    last counts for all of them. By the clocks of the nodes, so keep these right."""


class HeartbeatDiscoveryFields(TypedDict, total=False):
    """Fields of `HeartbeatDiscovery`."""

    ttl: DurationLike
    """How long an instance stays without a heartbeat, unless it asks for another time."""
    max_ttl: DurationLike
    """Longest time that an instance may ask for."""
    max_instances: int
    """Most registered instances."""


class ConsulDiscoveryFields(TypedDict, total=False):
    """Fields of `ConsulDiscovery`."""

    address: str
    """The agent or server: `http://host:port`, `https://host:port` or `unix:/path`."""
    ca: str | None
    """Authorities to trust if the address is `https`; those of the system by default."""
    cert: str | None
    """The gateway's own certificate and the intermediate ones, for an API that asks for a certificate."""
    key: str | None
    """The key of `cert`."""
    timeout: DurationLike
    """Longest wait for an answer that needs no change to happen."""
    retry: DurationLike
    """Time until the next try after a failure. It doubles with each further failure. The instances stay."""
    max_retry: DurationLike
    """Longest time between two tries."""
    service: Required[str]
    """Name of the service in Consul."""
    token: str | SecretStr | None
    """The token to send, unless it is empty. It needs `service:read` and `node:read`."""
    passing: bool
    """Whether all checks of an instance must pass. Otherwise instances with a warning count too, by their weight for
    warnings. An instance with a critical check never counts."""
    tags: Texts
    """Tags that an instance must have, all of them."""
    filter: str | None
    """A filter expression of Consul, such as `Service.Meta.version == "2"`."""
    datacenter: str | None
    """The datacenter to ask for; that of the agent by default."""
    namespace: str | None
    """The namespace, in Consul Enterprise."""
    partition: str | None
    """The admin partition, in Consul Enterprise."""
    stale: bool
    """Whether servers other than the leader may answer. That costs Consul less, and answers may be out of date."""
    scheme: Literal["http", "https"]
    """The scheme of the instances."""
    wait: DurationLike
    """How long Consul holds a query while nothing changes. It answers at once when something does."""
    gone_after: DurationLike
    """How long Consul must answer that there are no instances before they leave. By default they leave at once, because
    Consul's servers agree on that answer."""


class DockerDiscoveryFields(TypedDict, total=False):
    """Fields of `DockerDiscovery`."""

    address: str
    """The engine: `unix:/path`, `http://host:port` or `https://host:port`."""
    ca: str | None
    """Authorities to trust if the address is `https`; those of the system by default."""
    cert: str | None
    """The gateway's own certificate and the intermediate ones, for an API that asks for a certificate."""
    key: str | None
    """The key of `cert`."""
    timeout: DurationLike
    """Longest wait for an answer that needs no change to happen."""
    retry: DurationLike
    """Time until the next try after a failure. It doubles with each further failure. The instances stay."""
    max_retry: DurationLike
    """Longest time between two tries."""
    labels: Required[str | Texts]
    """Labels that a container must have, all of them: `name=value`, or `name` for any value."""
    port: int | None
    """Port in the container; by default that in its label `pylae.port`, else the only one that it exposes."""
    network: str | None
    """Network of the container's address; by default that in its label `pylae.network`, else its only one."""
    host: str | None
    """Address of the engine's machine. If given, instances are the ports that it publishes, for a gateway that cannot
    reach the containers' own addresses."""
    healthy: bool
    """Whether a container with a health check counts only while it is healthy."""
    scheme: Literal["http", "https"]
    """The scheme of the instances."""
    interval: DurationLike
    """Time between two looks without an event."""


class DiscoveryFields(TypedDict, total=False):
    """Fields of `Discovery`."""

    dns: DnsDiscoveryLike | None
    """Each address of a name is an instance."""
    file: FileDiscoveryLike | None
    """A file, YAML or JSON, with the instances of each service."""
    heartbeat: HeartbeatDiscoveryLike | None
    """Instances register themselves over the admin API, and leave when their heartbeats stop."""
    consul: ConsulDiscoveryLike | None
    """The instances of a service in Consul."""
    docker: DockerDiscoveryLike | None
    """The running containers with these labels."""


class LoadBalancerFields(TypedDict, total=False):
    """Fields of `LoadBalancer`."""

    kind: Required[BalancerKind]
    """`round_robin` in turn; `weighted_round_robin` in turn by weight, smoothly; `least_connections` the fewest
    exchanges in flight for the weight; `random` any, by weight; `ip_hash` by client address; `consistent_hash` by `on`,
    for which it ranks all instances; `p2c` the less loaded of two random ones; `maglev` by `on`, with one look into a
    table."""
    on: str | None
    """Key for the balancers that need one: `header:NAME`, `cookie:NAME` or `user`. Requests with the same key go to the
    same instance."""


class StickyFields(TypedDict, total=False):
    """Fields of `Sticky`."""

    cookie: str
    """Name of the cookie that the gateway sets."""
    ttl: DurationLike | None
    """`Max-Age` of the cookie. Without it, the cookie ends with the browser session."""
    secret: str | SecretStr | None
    """Secret key for the ids in the cookies. With it, a client cannot test guesses of an instance's address against its
    cookie. Gateways that serve the same clients need the same secret."""


class HealthCheckFields(TypedDict, total=False):
    """Fields of `HealthCheck`."""

    path: str
    """Path to request."""
    grpc: str | None
    """Check with gRPC's health protocol instead, for the service of this name. `""` checks the server as a whole."""
    interval: DurationLike
    """Time between two checks of an instance. It varies randomly by a tenth."""
    timeout: DurationLike
    """Time that an instance may take, up to the head of its response."""
    healthy_after: int
    """Consecutive successes after which an instance is healthy."""
    unhealthy_after: int
    """Consecutive failures after which an instance is unhealthy."""


class PassiveHealthFields(TypedDict, total=False):
    """Fields of `PassiveHealth`."""

    failures: int
    """Consecutive failed connections or 5xx responses that eject an instance."""
    ejection: DurationLike
    """How long the first ejection lasts. The second lasts twice as long, the third three times, and so on."""
    max_ejection: DurationLike
    """Longest ejection."""
    max_ejected: float
    """Largest share of the instances that may be ejected at once, from 0 to 1."""


class CircuitBreakerFields(TypedDict, total=False):
    """Fields of `CircuitBreaker`."""

    failure_threshold: int
    """Consecutive failures that open the breaker."""
    failure_rate: float | None
    """Share of failures within `window` that opens the breaker, from 0 to 1. By default only consecutive failures
    count."""
    window: DurationLike
    """Time span for `failure_rate`."""
    minimum_requests: int
    """Fewest requests within `window` for `failure_rate` to apply."""
    timeout: DurationLike
    """How long the breaker stays open before it lets a request through as a test."""
    half_open_requests: int
    """Test requests at once after `timeout`, while the breaker is half open."""
    failure_statuses: Sequence[int]
    """Response statuses that count as failures, besides connect errors, timeouts and resets."""
    scope: Literal["service", "instance"]
    """`service` uses one breaker for the whole service, `instance` one for each instance."""


class RetryBudgetFields(TypedDict, total=False):
    """Fields of `RetryBudget`."""

    ratio: float
    """Allowed retries as a share of the requests."""
    min_per_second: float
    """Retries per second that are always allowed, so that services with little traffic get retries too."""


class QueueFields(TypedDict, total=False):
    """Fields of `Queue`."""

    size: int
    """Most requests in the queue. Further ones get 503."""
    timeout: DurationLike
    """Longest wait in the queue. After that, the request gets 503."""


class ClientCredentialsFields(TypedDict, total=False):
    """Fields of `ClientCredentials`."""

    token_url: Required[str]
    """URL of the token endpoint."""
    client_id: Required[str]
    """The gateway's name there."""
    client_secret: Required[str | SecretStr]
    """The secret that belongs to it."""
    scope: str | Texts
    """Scopes to ask for: a list, or one text separated by spaces."""
    audience: str | Texts
    """Services that the token is to be for, as `audience`. Some servers need it."""
    client_auth: Literal["basic", "post"]
    """How to send name and secret: in `Authorization: Basic`, or in the body."""
    extra: Mapping[str, str]
    """Further parameters of the request, for example `resource`."""
    ca: str | None
    """PEM file with the authorities to trust for `token_url`. The default is the system's authorities."""


class ServiceFields(TypedDict, total=False):
    """Fields of `Service`."""

    instances: Sequence[InstanceLike]
    """Fixed instances."""
    discovery: DiscoveryLike | None
    """Source of further instances."""
    app: Callable[[Any, Any, Any], Awaitable[None]] | str | None
    """ASGI application that the gateway runs in its own process as one more instance, for development and tests. Give
    the application itself in a program, `module:name` in a file. It starts and stops with the gateway and listens on a
    port of its own on 127.0.0.1, which every user of this machine can connect to."""
    load_balancer: LoadBalancerLike | None
    """How to pick an instance. The default is `weighted_round_robin` if any weight differs from 1, else
    `round_robin`."""
    slow_start: DurationLike | None
    """Time over which an instance that joins or recovers gradually gets its full share of the load."""
    tls: ServiceTlsLike
    """TLS settings for instances whose URL begins with `https://`."""
    sticky: StickyLike | bool | None
    """Keep a client on one instance with a cookie. Off by default."""
    health_check: HealthCheckLike | bool | None
    """Active health checks. Off by default."""
    passive_health: PassiveHealthLike | bool | None
    """Passive health checks, by the outcome of requests. Off by default."""
    panic_threshold: float | None
    """Share of healthy instances below which the gateway ignores health and uses all instances, from 0 to 1. By default
    it never uses unhealthy instances and answers 503 if none is healthy."""
    circuit_breaker: CircuitBreakerLike | bool | None
    """Circuit breaker. Off by default."""
    retry_budget: RetryBudgetLike
    """Limit on the retries of all requests to the service."""
    connect_timeout: DurationLike
    """Time to connect to an instance."""
    max_in_flight: int | None
    """Most requests to the service in progress. Further ones wait in `queue`. No limit unless given."""
    queue: QueueLike
    """The queue for requests beyond `max_in_flight`."""
    protocol: Literal["http1", "http2"]
    """Protocol to the instances: `http1`, or `http2`, which gRPC needs. With `https` URLs it runs over TLS."""
    max_streams: int
    """Most requests at once on one HTTP/2 connection. Beyond this, or beyond what the instance allows, the gateway
    opens another connection."""
    preserve_host: bool | None
    """Send the client's `Host` to instances (true), or their own (false). By default instances with `http` URLs get the
    client's, and those with `https` URLs their own."""
    max_idle: int
    """Most idle connections to keep, per worker and instance. As many are kept as requests at once have needed within
    the last `idle_timeout`."""
    idle_timeout: DurationLike
    """How long to keep an idle connection to an instance. It should be shorter than the instance keeps it (uvicorn: 5
    s)."""
    client_credentials: ClientCredentialsLike | None
    """Token of the gateway's own for the instances, in place of the client's credentials."""


class AccessLogFields(TypedDict, total=False):
    """Fields of `AccessLog`."""

    output: str
    """Where lines go: `stdout`, `stderr`, `otlp`, or the path of a file. Lines are appended to the file. With `otlp`
    they go only to the collector of `telemetry.logs`, which gets the lines of all outputs."""
    format: Literal["json", "common", "combined"]
    """`json` writes every field. `common` and `combined` are the formats of Apache and nginx."""
    request_headers: str | Texts
    """Request fields to add to each line. In JSON they are under `request_headers`."""
    response_headers: str | Texts
    """Response fields to add to each line. In JSON they are under `response_headers`."""
    mask: str | Texts
    """Further header fields and query parameters whose values are replaced by `***`."""
    filter: str | None
    """A condition in CEL: only requests that meet it have a line, e.g. `response.status >= 500`. A request for which it
    cannot be told has one. The [guide](../guide/conditions.md) lists what it may use. Without it, all requests have
    one."""


class HstsFields(TypedDict, total=False):
    """Fields of `Hsts`."""

    when: Literal["auto", "always", "off"]
    """`auto` sends the field over TLS only. `always` sends it on every listener, for gateways behind a TLS terminator.
    `off` never sends it."""
    max_age: DurationLike
    """How long browsers remember to use TLS only."""
    include_subdomains: bool
    """Apply the rule to all subdomains too."""
    preload: bool
    """Ask browsers to add the host to their built-in lists."""


class SecurityHeadersFields(TypedDict, total=False):
    """Fields of `SecurityHeaders`."""

    nosniff: bool
    """`X-Content-Type-Options: nosniff`: browsers do not guess the content type."""
    frame_options: str | Literal[False] | None
    """`X-Frame-Options`: which sites may show the page in a frame."""
    xss_protection: str | Literal[False] | None
    """`X-XSS-Protection`, for old browsers."""
    referrer_policy: str | Literal[False] | None
    """`Referrer-Policy`: how much of the page's address other sites see."""
    hsts: HstsLike
    """`Strict-Transport-Security`: browsers use TLS only."""
    csp: str | Literal[False] | None
    """`Content-Security-Policy`. Not sent unless given."""


class CompressionFields(TypedDict, total=False):
    """Fields of `Compression`."""

    algorithms: str | Sequence[Literal["zstd", "br", "gzip"]]
    """Algorithms to use, in order of preference. The order decides if the client likes several equally."""
    min_size: SizeLike
    """Bodies smaller than this are not compressed, if their size is known in advance."""
    types: str | Texts
    """Media types to compress."""


class ChangesFields(TypedDict, total=False):
    """Fields of `Changes`."""

    remove: str | Texts
    """Fields to remove."""
    set: Mapping[str, str | int | float]
    """Fields to set. The value replaces all values that the field has."""
    append: Mapping[str, str | int | float]
    """Fields to add. Values that the field has already stay."""


class TransformFields(TypedDict, total=False):
    """Fields of `Transform`."""

    request: ChangesLike
    """Changes to the request that the service receives."""
    response: ChangesLike
    """Changes to the response that the client receives."""
    response_time: bool
    """Add `X-Response-Time`: the time from the request's head to the response's head, such as `12.345ms`."""
    normalize_errors: bool
    """Replace responses with status 400 and above that are not JSON by the gateway's own error
    (`application/problem+json`). The body of the service is discarded, so no stack trace reaches a client. The client
    does not wait for that body: the gateway reads up to 64 KB of it within a second to keep the connection, and closes
    the connection otherwise."""


class IpAccessFields(TypedDict, total=False):
    """Fields of `IpAccess`."""

    allow: str | Texts
    """Addresses and networks that are allowed. If empty, all are allowed except those in `deny`."""
    deny: str | Texts
    """Addresses and networks that are denied, even if `allow` contains them."""


class CorsFields(TypedDict, total=False):
    """Fields of `Cors`."""

    origins: str | Texts
    """Origins that may call: exact ones, `https://*.example.org` for all subdomains, or `*` for every origin."""
    methods: str | Texts
    """Methods that a preflight may ask for. `*` allows every method of the route."""
    headers: str | Texts
    """Request fields that a page may send. `*` allows every field that it asks for, `Authorization` too."""
    expose: str | Texts
    """Response fields that a page may read, besides those that browsers always expose."""
    credentials: bool
    """Allow cookies and other credentials. Requires a list of `origins`."""
    max_age: DurationLike
    """How long a browser may cache the answer to a preflight. Browsers have upper limits of their own."""


class AddressLimitFields(TypedDict, total=False):
    """Fields of `AddressLimit`."""

    name: str | None
    """Name of the limit in response fields, unique within the policy. A reload keeps the counts of limits whose name
    stays. Without a name, the first limit is `default`, the second `default-2`, and so on."""
    limit: Required[int]
    """Requests allowed in each span of `per`."""
    per: DurationLike
    """The time span of `limit`."""
    algorithm: Literal["token_bucket", "sliding_window", "fixed_window"]
    """How requests are counted. `token_bucket` refills continuously. `sliding_window` never allows more than `limit` in
    any span of `per`. `fixed_window` counts in spans aligned to UTC, such as days from midnight to midnight, and suits
    quotas."""
    key: str | Mapping[str, str] | Texts
    """Which requests are counted together: those with the same `ip` (IPv6 addresses by their /64), `header:NAME` or
    `route`, or all of them (`global`). Join several with `+`: `ip+route`."""
    burst: int | None
    """Most requests at once that a token bucket allows; `limit` unless given."""
    cost: int
    """How much of the limit each request uses. With `settle` it is an estimate."""
    settle: str | None
    """Not available here: attempts are counted, whatever they cost."""
    per_route: bool
    """Count each route separately. If false, all routes with a limit of this name count together."""
    scope: Literal["node", "cluster"] | None
    """`cluster` counts all nodes of the `cluster` together, `node` counts each node on its own. The default is
    `cluster` if there is one."""
    mode: Literal["fast", "exact"]
    """How the nodes of a cluster count together. With `fast`, requests far from the limit do not wait for the store; at
    most one request per node, and a few that the store does not know of yet, may exceed the limit, and are paid back.
    With `exact`, the limit is never exceeded; the first requests of a key and those near the limit wait for the
    store."""
    headers: bool
    """Add `RateLimit-Policy` and `RateLimit` to responses."""


class AddressConcurrencyFields(TypedDict, total=False):
    """Fields of `AddressConcurrency`."""

    name: str
    """Name of the limit in response fields."""
    limit: Required[int]
    """Most requests in progress at the same time, per key."""
    key: str | Mapping[str, str] | Texts
    """Which requests are counted together, as for a limit."""
    per_route: bool
    """Count each route separately. If false, all routes with a `concurrency` of this name count together."""
    scope: Literal["node", "cluster"] | None
    """`cluster` counts all nodes of the `cluster` together, `node` counts each node on its own. The default is
    `cluster` if there is one."""
    headers: bool
    """Add `RateLimit-Policy` and `RateLimit` to responses."""


class AddressLimitsFields(TypedDict, total=False):
    """Fields of `AddressLimits`."""

    limits: Sequence[AddressLimitLike]
    """The limits. A request must pass all of them."""
    concurrency: AddressConcurrencyLike | None
    """How many requests may be in progress at once. A number alone is short for `limit`."""
    name: str | None
    """Name of the limit in response fields, unique within the policy. A reload keeps the counts of limits whose name
    stays. Without a name, the first limit is `default`, the second `default-2`, and so on."""
    limit: int
    """Requests allowed in each span of `per`."""
    per: DurationLike
    """The time span of `limit`."""
    algorithm: Literal["token_bucket", "sliding_window", "fixed_window"]
    """How requests are counted. `token_bucket` refills continuously. `sliding_window` never allows more than `limit` in
    any span of `per`. `fixed_window` counts in spans aligned to UTC, such as days from midnight to midnight, and suits
    quotas."""
    key: str | Mapping[str, str] | Texts
    """Which requests are counted together: those with the same `ip` (IPv6 addresses by their /64), `header:NAME` or
    `route`, or all of them (`global`). Join several with `+`: `ip+route`."""
    burst: int | None
    """Most requests at once that a token bucket allows; `limit` unless given."""
    cost: int
    """How much of the limit each request uses. With `settle` it is an estimate."""
    settle: str | None
    """Not available here: attempts are counted, whatever they cost."""
    per_route: bool
    """Count each route separately. If false, all routes with a limit of this name count together."""
    scope: Literal["node", "cluster"] | None
    """`cluster` counts all nodes of the `cluster` together, `node` counts each node on its own. The default is
    `cluster` if there is one."""
    mode: Literal["fast", "exact"]
    """How the nodes of a cluster count together. With `fast`, requests far from the limit do not wait for the store; at
    most one request per node, and a few that the store does not know of yet, may exceed the limit, and are paid back.
    With `exact`, the limit is never exceeded; the first requests of a key and those near the limit wait for the
    store."""
    headers: bool
    """Add `RateLimit-Policy` and `RateLimit` to responses."""


class ClaimTestFields(TypedDict, total=False):
    """Fields of `ClaimTest`."""

    any: str | bool | int | float | Sequence[str | bool | int | float]
    """The claim must have one of these values."""
    all: str | bool | int | float | Sequence[str | bool | int | float]
    """The claim must have all of these values."""
    present: bool | None
    """Whether the claim must be there, with any value. A claim that is `null` is not there."""


class RequireFields(TypedDict, total=False):
    """Fields of `Require`."""

    claims: Mapping[str, ClaimTestLike]
    """What the user's claims must be, by name. `a.b` is `b` inside `a`, unless a claim has that whole name."""
    expression: str | None
    """A condition in CEL, e.g. `user.claims.level >= 3`. The [guide](../guide/conditions.md) lists what it may use."""


class RateLimitFields(TypedDict, total=False):
    """Fields of `RateLimit`."""

    name: str | None
    """Name of the limit in response fields, unique within the policy. A reload keeps the counts of limits whose name
    stays. Without a name, the first limit is `default`, the second `default-2`, and so on."""
    limit: Required[int]
    """Requests allowed in each span of `per`."""
    per: DurationLike
    """The time span of `limit`."""
    algorithm: Literal["token_bucket", "sliding_window", "fixed_window"]
    """How requests are counted. `token_bucket` refills continuously. `sliding_window` never allows more than `limit` in
    any span of `per`. `fixed_window` counts in spans aligned to UTC, such as days from midnight to midnight, and suits
    quotas."""
    key: str | Mapping[str, str] | Texts
    """Which requests are counted together: those with the same `user`, `ip` (IPv6 addresses by their /64),
    `header:NAME` or `route`, or all of them (`global`). `auto` is the user if known, else the address. Join several
    with `+`: `ip+header:X-Tenant`. Requests without the user or field share one count. `{expression: …}` is what an
    expression in CEL gives, e.g. `{expression: user.claims.tenant}`, alone or in a list of parts; requests for which it
    cannot be told share one count."""
    burst: int | None
    """Most requests at once that a token bucket allows; `limit` unless given."""
    cost: int
    """How much of the limit each request uses. With `settle` it is an estimate."""
    settle: str | None
    """What tells the true cost of a request, when `cost` is an estimate: `header:NAME` is a field of the service's
    response, which the client does not get, or a hook; `hook` is only a hook (`request.settle(cost)`). What was
    estimated too high comes back. What was estimated too low is debt, at most one `limit`. Without a true cost the
    estimate stays; if no service got the request, all of it comes back."""
    per_route: bool
    """Count each route separately. If false, all routes with a limit of this name count together."""
    scope: Literal["node", "cluster"] | None
    """`cluster` counts all nodes of the `cluster` together, `node` counts each node on its own. The default is
    `cluster` if there is one."""
    mode: Literal["fast", "exact"]
    """How the nodes of a cluster count together. With `fast`, requests far from the limit do not wait for the store; at
    most one request per node, and a few that the store does not know of yet, may exceed the limit, and are paid back.
    With `exact`, the limit is never exceeded; the first requests of a key and those near the limit wait for the
    store."""
    headers: bool
    """Add `RateLimit-Policy` and `RateLimit` to responses."""


class ConcurrencyFields(TypedDict, total=False):
    """Fields of `Concurrency`."""

    name: str
    """Name of the limit in response fields."""
    limit: Required[int]
    """Most requests in progress at the same time, per key."""
    key: str | Mapping[str, str] | Texts
    """Which requests are counted together, as for a limit."""
    per_route: bool
    """Count each route separately. If false, all routes with a `concurrency` of this name count together."""
    scope: Literal["node", "cluster"] | None
    """`cluster` counts all nodes of the `cluster` together, `node` counts each node on its own. The default is
    `cluster` if there is one."""
    headers: bool
    """Add `RateLimit-Policy` and `RateLimit` to responses."""


class RateLimitsFields(TypedDict, total=False):
    """Fields of `RateLimits`."""

    limits: Sequence[RateLimitLike]
    """The limits. A request must pass all of them."""
    concurrency: ConcurrencyLike | None
    """How many requests may be in progress at once. A number alone is short for `limit`."""
    name: str | None
    """Name of the limit in response fields, unique within the policy. A reload keeps the counts of limits whose name
    stays. Without a name, the first limit is `default`, the second `default-2`, and so on."""
    limit: int
    """Requests allowed in each span of `per`."""
    per: DurationLike
    """The time span of `limit`."""
    algorithm: Literal["token_bucket", "sliding_window", "fixed_window"]
    """How requests are counted. `token_bucket` refills continuously. `sliding_window` never allows more than `limit` in
    any span of `per`. `fixed_window` counts in spans aligned to UTC, such as days from midnight to midnight, and suits
    quotas."""
    key: str | Mapping[str, str] | Texts
    """Which requests are counted together: those with the same `user`, `ip` (IPv6 addresses by their /64),
    `header:NAME` or `route`, or all of them (`global`). `auto` is the user if known, else the address. Join several
    with `+`: `ip+header:X-Tenant`. Requests without the user or field share one count. `{expression: …}` is what an
    expression in CEL gives, e.g. `{expression: user.claims.tenant}`, alone or in a list of parts; requests for which it
    cannot be told share one count."""
    burst: int | None
    """Most requests at once that a token bucket allows; `limit` unless given."""
    cost: int
    """How much of the limit each request uses. With `settle` it is an estimate."""
    settle: str | None
    """What tells the true cost of a request, when `cost` is an estimate: `header:NAME` is a field of the service's
    response, which the client does not get, or a hook; `hook` is only a hook (`request.settle(cost)`). What was
    estimated too high comes back. What was estimated too low is debt, at most one `limit`. Without a true cost the
    estimate stays; if no service got the request, all of it comes back."""
    per_route: bool
    """Count each route separately. If false, all routes with a limit of this name count together."""
    scope: Literal["node", "cluster"] | None
    """`cluster` counts all nodes of the `cluster` together, `node` counts each node on its own. The default is
    `cluster` if there is one."""
    mode: Literal["fast", "exact"]
    """How the nodes of a cluster count together. With `fast`, requests far from the limit do not wait for the store; at
    most one request per node, and a few that the store does not know of yet, may exceed the limit, and are paid back.
    With `exact`, the limit is never exceeded; the first requests of a key and those near the limit wait for the
    store."""
    headers: bool
    """Add `RateLimit-Policy` and `RateLimit` to responses."""


class RedirectFields(TypedDict, total=False):
    """Fields of `Redirect`."""

    to: Required[str]
    """URL or path to redirect to."""
    status: Literal[301, 302, 303, 307, 308]
    """301 and 308 are permanent and may be cached; 302 and 307 are temporary. 307 and 308 keep method and body. 303
    makes the client send a GET."""
    keep_query: bool
    """Append the query of the request."""
    insecure_only: bool
    """Redirect only requests that did not come over TLS. Use it to redirect to https if all listeners share the
    route."""


class StaticResponseFields(TypedDict, total=False):
    """Fields of `StaticResponse`."""

    status: int
    """Status code."""
    content_type: str | None
    """`Content-Type` of the response. The default is `text/plain; charset=utf-8` for a text and `application/json` for
    a mapping or list."""
    headers: Mapping[str, str]
    """Further response fields."""
    body: str | Mapping[str, Any] | list[Any]
    """A text, or a mapping or list to send as JSON. `"${file:page.html}"` reads the body from a file."""


class JsonBodyFields(TypedDict, total=False):
    """Fields of `JsonBody`."""

    max_size: SizeLike
    """Largest body (413). The gateway reads the whole body into memory before it calls the service."""
    max_depth: int
    """Deepest nesting of arrays and objects (400)."""
    max_values: int
    """Most values and keys in the whole body (400)."""
    json_schema: Mapping[str, Any] | bool | str | None
    """JSON Schema (draft 2020-12) that bodies must match (422). References to other documents are not followed."""


class ValidationFields(TypedDict, total=False):
    """Fields of `Validation`."""

    max_body: SizeLike
    """Largest request body (413)."""
    content_types: str | Texts
    """Media types that a body may have (415), such as `application/json` or `text/*`. By default all are allowed, or
    the JSON ones with `json_body`."""
    required_headers: str | Texts
    """Fields that every request must have (400)."""
    required_query: str | Texts
    """Query parameters that every request must have (400)."""
    json_body: JsonBodyLike | bool | None
    """Require JSON bodies, with limits and an optional schema. `true` takes the defaults."""


class CacheFields(TypedDict, total=False):
    """Fields of `Cache`."""

    ttl: DurationLike
    """How long a response is fresh if the service does not say so itself (`Cache-Control`, `Expires`)."""
    error_ttl: DurationLike
    """How long a 404 or 410 is fresh if the service does not say so itself. 0 does not keep them. Other errors are kept
    only as long as the service says."""
    heuristic: bool | float
    """For responses that have `Last-Modified` but no freshness: the fraction of their age for which they stay fresh, up
    to a day (RFC 9111 section 4.2.2). `true` is 0.1, `false` is 0, which switches it off."""
    override: bool
    """Use `ttl` even if the service states a different freshness. `no-store`, `private` and `no-cache` still apply."""
    per_user: bool
    """Keep separate responses for each authenticated user. With `false`, responses to authenticated requests are kept
    only if the service sends `public`, `s-maxage` or `must-revalidate` (RFC 9111 section 3.5)."""
    vary: Texts | str
    """Request fields that distinguish stored responses, besides those in the service's `Vary`. Their values are those
    that the service receives: `X-User-ID`, `X-User-Role` and `X-User-Email` are the authenticated user's, not what the
    client sent."""
    normalize: Sequence[Literal["accept-language"]] | str
    """Request fields to compare by meaning. With `Accept-Language`, the order of languages with the same weight does
    not matter."""
    max_entry: SizeLike
    """Largest body to keep, at most a sixteenth of `limits.cache_size`."""
    stale_while_revalidate: DurationLike
    """How long after it expires a response may still be served while the gateway fetches a new one, if the service does
    not say so itself (RFC 5861)."""
    stale_if_error: DurationLike
    """How long after it expires a response may be served when the service fails, if the service does not say so itself
    (RFC 5861)."""
    wait: DurationLike
    """How long a request waits while another request fetches the same response. After that it asks the service itself.
    0 does not wait."""
    client_directives: bool
    """Whether clients can ask for a fresh response with `Cache-Control` (RFC 9111)."""
    ignore_cookies: bool
    """Cache responses to requests with cookies like all others. With `false` they are kept only if the service sends
    `public` or `s-maxage`, or varies by `Cookie`."""
    set_cookie: Literal["bypass", "strip"]
    """What to do with responses that set cookies: `bypass` does not keep them, `strip` keeps them without the cookies.
    The client whose request reached the service gets the cookies in both cases."""
    cache_status: bool
    """Add `Cache-Status` to responses (RFC 9211)."""
    tags: Texts | str
    """Tags by which stored responses can be purged, besides those in the service's `Cache-Tag`."""


class MirrorFields(TypedDict, total=False):
    """Fields of `Mirror`."""

    service: Required[str]
    """Name of the service that receives the copies."""
    share: float
    """Fraction of the requests to copy, from 0 to 1. The request id decides which ones."""
    max_body: SizeLike
    """Largest request body to copy, at most 16 MB. Above 64 KB, the gateway holds the whole body in memory for the
    copy."""
    max_in_flight: int
    """Most copies in progress at once, per worker."""
    timeout: DurationLike
    """Total time to send a copy and read its response."""


class ValueTestFields(TypedDict, total=False):
    """Fields of `ValueTest`."""

    equals: str | None
    """One of its values must equal this text."""
    pattern: str | None
    """One of its values must match this regular expression, from its start."""


class WhenFields(TypedDict, total=False):
    """Fields of `When`."""

    header: Mapping[str, ValueTestLike]
    """Conditions on request fields, by name."""
    cookie: Mapping[str, ValueTestLike]
    """Conditions on cookies, by name."""
    expression: str | None
    """A condition in CEL, e.g. `request.query.preview == '1'`. The user is not known yet. A request for which it cannot
    be told does not meet it. The [guide](../guide/conditions.md) lists what it may use."""


class MemberHeadersFields(TypedDict, total=False):
    """Fields of `MemberHeaders`."""

    remove: str | Texts
    """Fields to remove."""
    set: Mapping[str, str | int | float]
    """Fields to set. The value replaces all values that the field has."""


class SplitMemberFields(TypedDict, total=False):
    """Fields of `SplitMember`."""

    service: Required[str]
    """Name of the service."""
    weight: int | None
    """Share, relative to the other members, of the requests that match no `when`. The default is 1, or 0 for a member
    with `when`. A member with weight 0 gets only the requests that match its `when`."""
    when: WhenLike | None
    """Requests that match these conditions go to this member, whatever its weight. If several members match, the first
    one gets the request."""
    headers: MemberHeadersLike
    """Changes to the requests that go to this member. They are made after all others."""


class SplitStickyFields(TypedDict, total=False):
    """Fields of `SplitSticky`."""

    cookie: str
    """Name of the cookie that the gateway sets."""
    ttl: DurationLike | None
    """`Max-Age` of the cookie. Without it, the cookie ends with the browser session."""
    secret: str | SecretStr | None
    """Secret key for the ids in the cookies. With it, a client cannot choose its member by forging a cookie. Gateways
    that serve the same clients need the same secret."""


class WebSocketFields(TypedDict, total=False):
    """Fields of `WebSocket`."""

    idle_timeout: DurationLike
    """Longest silence. If neither side sends a frame for so long, not even a ping, the gateway closes both with a Close
    frame (1001). It also cuts the connection off if one side does not read for so long what the other has sent."""
    max_message: SizeLike | None
    """Largest message, over all its frames. A larger one closes both sides (1009). `null` means no limit."""
    max_frame: SizeLike | None
    """Largest frame. A larger one closes both sides (1009). By default only `max_message` applies."""


class RouteFields(TypedDict, total=False):
    """Fields of `Route`."""

    access_log: AccessLogLike | bool | None
    """Writes one line per request to a file or to standard output."""
    security_headers: SecurityHeadersLike | bool | None
    """Adds the response headers that make browsers stricter."""
    compression: CompressionLike | bool | None
    """Compresses responses for clients that accept it."""
    transform: TransformLike | bool | None
    """Changes header fields of requests and responses."""
    ip_access: IpAccessLike | bool | None
    """Allows or denies clients by IP address."""
    cors: CorsLike | bool | None
    """Lets web pages of other origins call the gateway."""
    address_limit: AddressLimitsLike | bool | None
    """Limits the requests of an IP address, before authentication."""
    require: RequireLike | bool | None
    """Refuses requests whose user or circumstances are not as required."""
    rate_limit: RateLimitsLike | bool | None
    """Limits the requests of a client, after authentication."""
    redirect: RedirectLike | bool | None
    """Answers with a redirect."""
    static_response: StaticResponseLike | bool | None
    """Answers with a fixed response, without a service."""
    validation: ValidationLike | bool | None
    """Refuses requests whose body, fields or query are not what the route accepts."""
    cache: CacheLike | bool | None
    """Answers repeated reads from memory."""
    mirror: MirrorLike | bool | None
    """Sends copies of requests to another service."""
    name: str | None
    """Unique name for logs and metrics. The default is made from methods, host and path."""
    path: str | None
    """The whole path, or a template with parameters: `/users/{id}`, `/users/{id:int}`, `/files/{rest:path}`. A `path`
    parameter takes the rest of the path and must come last."""
    prefix: str | None
    """Path prefix. It matches this path and everything below it: `/api` matches `/api` and `/api/users`, but not
    `/apis`."""
    pattern: str | None
    """Regular expression that must match from the start of the path. Patterns are tried before prefixes, in their
    order."""
    method: str | Texts
    """Methods: one, `A|B`, or a list. The default is all."""
    methods: str | Texts
    """The same as `method`."""
    host: str | Texts
    """Host names, without port; `*.example.org` matches all subdomains. The default is all."""
    hosts: str | Texts
    """The same as `host`."""
    headers: Mapping[str, ValueTestLike]
    """Conditions on request fields, by name. All must be met."""
    query: Mapping[str, ValueTestLike]
    """Conditions on query parameters, by name. All must be met."""
    priority: int
    """A route with a higher priority wins, however specific the others are."""
    service: str | None
    """Name of the service that gets the requests."""
    service_name: str | None
    """The same as `service`."""
    service_url: str | None
    """URL of an instance. Declares a service with this one instance."""
    split: Sequence[SplitMemberLike]
    """Shares the requests out among several services, by condition or by weight. Replaces `service`."""
    sticky: SplitStickyLike | bool | None
    """Keep a client on the member of `split` that was chosen for it by weight. `cookie` is short for the defaults. Off
    by default."""
    circuit_breaker: CircuitBreakerLike | bool | None
    """Circuit breaker of the service that `service_url` declares. The default is off in a file and on in a Python
    program. For services under `services`, set it there."""
    timeout: DurationLike
    """Time that an instance may take for each attempt, up to the head of its response."""
    idle_timeout: DurationLike
    """Longest pause between two pieces of a body."""
    deadline: DurationLike | None
    """Time for all attempts together, up to the head of the response. No limit unless given."""
    retries: int
    """Most attempts after the first."""
    retry_count: int
    """The same as `retries`."""
    retry_on: str | Sequence[Literal["reset", "timeout", "gateway_error", "server_error"]]
    """Failures to retry besides failed connections and failures of idempotent requests: `reset`, `timeout`,
    `gateway_error` (502, 503, 504), `server_error` (any 5xx). One, `A|B`, or a list."""
    preserve_host: bool | None
    """Send the client's `Host` to instances (true), or their own (false). The default is the service's
    `preserve_host`."""
    strip_prefix: bool | str
    """Prefix to remove from the path before the request is sent on. `true` removes the route's `prefix`."""
    rewrite: str | None
    """Template of the path to send instead, with captured parameters: `/v2/{id}`."""
    encoded_slash: Literal["reject", "keep"]
    """How to treat `%2F` in a path. `reject` answers 400. `keep` treats it as a character of its segment and sends it
    on unchanged; the answer is still 400 if the path, read with `/` instead, would lead to a route that admits other
    clients."""
    websocket: WebSocketLike | bool | None
    """Allow WebSocket connections. Off by default; `true` takes the default settings."""
    auth_required: bool
    """Require an authenticated user."""
    auth: str | Texts | None
    """Names of the authenticators that may identify the user: one, `A|B`, or a list. The default is all. With
    `auth_required: false`, requests without credentials are allowed too."""
    permissions: str | Texts
    """Permissions that the user needs. All of them are required."""
    roles: str | Texts
    """Roles of which the user needs one: one, `A|B`, or a list. By default any user is allowed."""
    errors: Mapping[str | int, Mapping[Literal["html", "json"], str]]
    """Error pages of this route. They take precedence over those of the gateway."""


class HookSettingsFields(TypedDict, total=False):
    """Fields of `HookSettings`."""

    timeout: DurationLike
    """Longest time of one call. After that, the call has failed."""
    on_error: Literal["fail", "skip"]
    """What to do if a call fails: `fail` answers 500, `skip` continues as if the function were not there."""
    blocking: bool
    """Set this if the function blocks, for example on files, databases or locks. It then runs on a pool of threads."""
    waits: bool | None
    """Whether an async function waits for something, and so must run on an asyncio loop. By default the gateway reads
    this from the function's code: a function that awaits only `call_next(…)`, `request.body()` and `request.json()`
    does not wait."""
    budget: DurationLike | None
    """Time that one call may occupy a worker. A function that repeatedly takes longer moves to the pool of threads, or
    to the asyncio loop if it is async, until the next reload. `null` never moves it."""
    body: bool | SizeLike
    """Let the function read the body. The gateway then reads the whole body into memory: up to 1 MB with `true`, or up
    to the size given here."""
    stage: Literal["early", "late"] | None
    """`early` hooks run before the gateway looks for a route, and see all responses, also those that the gateway itself
    makes. `late` hooks run after all policies of the route. The default is `late`, except for middleware without
    `routes`, which is early."""
    malformed: bool
    """Let an early response hook also see the responses to malformed requests (400, 408, 414, 431). Such requests have
    few readable attributes."""
    on_request: str | None
    """Function that runs before the request is forwarded, as `function(request)`. If it returns a Response, the gateway
    sends that to the client."""
    on_response: str | None
    """Function that runs before the response is sent, as `function(request, response)`, or as `function(response,
    request)` if its parameters have these names."""
    on_response_body: str | None
    """Async generator function that receives the response body in pieces, as `function(request, response, chunks)`, and
    yields what the client gets."""
    on_response_events: str | None
    """Async generator function that receives the server-sent events of a `text/event-stream` response, as
    `function(request, response, events)`, and yields what the client gets."""
    middleware: str | None
    """Function that runs around the whole exchange, as `function(request)` or `function(request, call_next)`."""
    routes: str | Texts | None
    """Names of the routes that the hook runs on: one, `A|B`, or a list. The default is all."""


class HookSetFields(TypedDict, total=False):
    """Fields of `HookSet`."""

    processes: int
    """Number of processes that run the hooks, so-called hook hosts: of this list, of plugins and of programs. With 0,
    the gateway's own process runs them. Functions of authenticators always run there."""
    max_calls: int
    """Most calls that a hook host has in progress. If all hosts have as many, further requests get 503, unless their
    hooks have `on_error: skip`."""
    max_requests: int | None
    """Number of calls after which a hook host is replaced by a new one, for hooks that leak."""
    max_memory: SizeLike | None
    """Resident memory at which a hook host is replaced by a new one."""
    use: Sequence[HookSettingsLike]
    """The functions, in the order in which a request meets them."""


class PluginUseFields(TypedDict, total=False):
    """Fields of `PluginUse`."""

    use: Required[str]
    """Name of an installed plugin (entry point group `pylae.plugins`), or an import path `module:Class`."""
    routes: str | Texts | None
    """Names of the routes that the plugin runs on: one, `A|B`, or a list. The default is all."""
    settings: Mapping[str, Any]
    """Settings of the plugin itself."""


class PolicySetFields(TypedDict, total=False):
    """Fields of `PolicySet`."""

    access_log: AccessLogLike | bool | None
    """Writes one line per request to a file or to standard output."""
    security_headers: SecurityHeadersLike | bool | None
    """Adds the response headers that make browsers stricter."""
    compression: CompressionLike | bool | None
    """Compresses responses for clients that accept it."""
    transform: TransformLike | bool | None
    """Changes header fields of requests and responses."""
    ip_access: IpAccessLike | bool | None
    """Allows or denies clients by IP address."""
    cors: CorsLike | bool | None
    """Lets web pages of other origins call the gateway."""
    address_limit: AddressLimitsLike | bool | None
    """Limits the requests of an IP address, before authentication."""
    require: RequireLike | bool | None
    """Refuses requests whose user or circumstances are not as required."""
    rate_limit: RateLimitsLike | bool | None
    """Limits the requests of a client, after authentication."""
    redirect: RedirectLike | bool | None
    """Answers with a redirect."""
    static_response: StaticResponseLike | bool | None
    """Answers with a fixed response, without a service."""
    validation: ValidationLike | bool | None
    """Refuses requests whose body, fields or query are not what the route accepts."""
    cache: CacheLike | bool | None
    """Answers repeated reads from memory."""
    mirror: MirrorLike | bool | None
    """Sends copies of requests to another service."""


class LogSettingsFields(TypedDict, total=False):
    """Fields of `LogSettings`."""

    level: Literal["debug", "info", "warning", "error"] | None
    """Least level of the records that are written. `debug` also writes the steps of the data plane. The default is
    `info`, or what a program that embeds the gateway has set."""
    format: Literal["text", "json"] | None
    """`text` for people, or `json`: an object per line. It is that of standard error under `pylae run`; a program that
    embeds the gateway formats records itself. The default is `text`."""
    areas: Mapping[
        Literal[
            "admin",
            "auth",
            "cluster",
            "config",
            "engine",
            "health",
            "hooks",
            "listeners",
            "registry",
            "requests",
            "store",
            "telemetry",
            "tls",
            "upstream",
        ],
        Literal["debug", "info", "warning", "error"],
    ]
    """Levels of areas, instead of `level`."""


class ThresholdsFields(TypedDict, total=False):
    """Fields of `Thresholds`."""

    degraded_errors: float
    """Share of 5xx responses above which it is degraded, from 0 to 1."""
    unhealthy_errors: float
    """Share of 5xx responses above which it is unhealthy, from 0 to 1."""
    degraded_duration: DurationLike | None
    """Mean duration above which it is degraded. `null` switches this off, for services whose requests take long on
    purpose. Event streams and WebSockets do not count."""
    minimum_requests: int
    """Fewest requests in the last minute for any of these thresholds to apply."""


class AdminFields(TypedDict, total=False):
    """Fields of `Admin`."""

    address: str
    """`ip:port`, where port 0 picks a free port, or `unix:/path` for a socket that only its owner can use."""
    token: str | SecretStr | None
    """Token that every request must present: 16 to 512 visible ASCII characters. Without it, the gateway generates one
    at the first start and keeps it in `token_file`."""
    token_file: str | None
    """File with the token, readable by its owner only. The default is `admin-token` in the state folder."""
    hosts: Texts
    """Host names, besides localhost, by which clients may call the admin API. Requests for other names are refused, so
    that a web page cannot reach it through a name of its own (DNS rebinding)."""
    tls: ListenerTlsLike | None
    """TLS, required unless the address is a loopback address or a socket. With `client_auth`, clients need a
    certificate besides the token."""
    references: str | Texts
    """Environment variables (`NAME`) and files (`file:PATH`) that configurations sent over the admin API may use
    anywhere. Other references are accepted only where the current configuration has them already. Like `code`, this
    setting belongs to the node: only the node's own file can change it."""
    code: str | Texts
    """Hooks (`module:function`), plugins and registry sources of packages that configurations sent over the admin API
    may use, besides those that the current configuration has already."""
    audit_log: bool
    """Write each line of the audit to the log too, as JSON, by the logger `pylae.audit`."""


class KeepFields(TypedDict, total=False):
    """Fields of `Keep`."""

    errors: bool
    """Those that fail: answers with a status of 5xx, and answers that did not get to the client whole."""
    slower_than: DurationLike | None
    """Those that take longer than this."""


class TracesFields(TypedDict, total=False):
    """Fields of `Traces`."""

    endpoint: Required[str]
    """URL of the collector, `http://` or `https://`. With `protocol: http`, a URL without a path gets the one that OTLP
    has for it, such as `/v1/traces`."""
    protocol: Literal["http", "grpc"]
    """`http` sends protocol buffers over HTTP/1.1, `grpc` over gRPC."""
    headers: Mapping[str, str | SecretStr]
    """Fields to send with each request, for example `authorization`. At most 16."""
    compression: Literal["none", "gzip"]
    """How to compress what is sent."""
    ca: str | None
    """PEM file with the authorities to trust. The default is the system's authorities. Only with `https://`."""
    timeout: DurationLike
    """How long the collector may take for an answer."""
    ratio: float
    """Share of exchanges to sample, from 0 to 1, where the client does not say whether to."""
    parent: Literal["follow", "ignore"]
    """Whether the client decides, by the flag `sampled` of its `traceparent`. `ignore` is for clients that you do not
    trust with that: the trace goes on, and the gateway alone decides."""
    routes: Mapping[str, float]
    """`ratio` of single routes, by their names."""
    keep: KeepLike | bool | None
    """Which exchanges to send although they were not sampled. Off by default."""


class ExportedMetricsFields(TypedDict, total=False):
    """Fields of `ExportedMetrics`."""

    endpoint: Required[str]
    """URL of the collector, `http://` or `https://`. With `protocol: http`, a URL without a path gets the one that OTLP
    has for it, such as `/v1/traces`."""
    protocol: Literal["http", "grpc"]
    """`http` sends protocol buffers over HTTP/1.1, `grpc` over gRPC."""
    headers: Mapping[str, str | SecretStr]
    """Fields to send with each request, for example `authorization`. At most 16."""
    compression: Literal["none", "gzip"]
    """How to compress what is sent."""
    ca: str | None
    """PEM file with the authorities to trust. The default is the system's authorities. Only with `https://`."""
    timeout: DurationLike
    """How long the collector may take for an answer."""
    interval: DurationLike
    """How often to send them."""


class ExportedLogsFields(TypedDict, total=False):
    """Fields of `ExportedLogs`."""

    endpoint: Required[str]
    """URL of the collector, `http://` or `https://`. With `protocol: http`, a URL without a path gets the one that OTLP
    has for it, such as `/v1/traces`."""
    protocol: Literal["http", "grpc"]
    """`http` sends protocol buffers over HTTP/1.1, `grpc` over gRPC."""
    headers: Mapping[str, str | SecretStr]
    """Fields to send with each request, for example `authorization`. At most 16."""
    compression: Literal["none", "gzip"]
    """How to compress what is sent."""
    ca: str | None
    """PEM file with the authorities to trust. The default is the system's authorities. Only with `https://`."""
    timeout: DurationLike
    """How long the collector may take for an answer."""


class TelemetryFields(TypedDict, total=False):
    """Fields of `Telemetry`."""

    service_name: str
    """Name of this gateway in what is sent: the attribute `service.name`."""
    attributes: Mapping[str, str]
    """Further attributes of the gateway, for example `deployment.environment.name`. They replace those that the gateway
    finds out itself, such as `host.name`."""
    traces: TracesLike | None
    """Traces: where a request spends its time."""
    metrics: ExportedMetricsLike | None
    """Metrics, for those who do not collect them from `/metrics`."""
    logs: ExportedLogsLike | None
    """The access log."""


class StoreSettingsFields(TypedDict, total=False):
    """Fields of `StoreSettings`."""

    url: str
    """`sqlite` for a file in the state folder. `postgresql://host:port/database` for a schema `pylae` in a database, or
    `…/database/schema`. `etcd://host:port,host:port` for the servers of etcd, where all keys begin with `/pylae/`, or
    `…/word`. `postgresql+tls` and `etcd+tls` mean TLS."""
    user: str | None
    """User of PostgreSQL or etcd."""
    password: str | SecretStr | None
    """Password of the user."""
    tls: ServiceTlsLike | None
    """TLS to the store: whom the gateway trusts, and which certificate it presents. Only with `+tls`."""
    timeout: DurationLike
    """How long the store may take for an answer."""
    history: int
    """How many configurations the history keeps."""
    audit: int
    """How many lines of the audit are kept."""


class RolloutSettingsFields(TypedDict, total=False):
    """Fields of `RolloutSettings`."""

    observe: DurationLike
    """How long the first node is observed before all others follow."""
    max_errors: float
    """By how much the share of 5xx responses may be above that of the other nodes, from 0 to 1. If it is more, the
    configuration is taken back. So it is if the slowest hundredth of the requests takes more than twice as long."""
    min_requests: int
    """Fewest requests for a judgement. If there are fewer within `observe`, the roll-out goes on, and says so."""


class ConfigFields(TypedDict, total=False):
    """Fields of `Config`."""

    listeners: Sequence[ListenerLike] | str
    """Addresses that clients connect to."""
    workers: int | None
    """Number of worker threads. The default is one per core that the process may use."""
    user: str | int | None
    """User to switch to if the gateway was started as root: after it has bound its sockets and read its files, before
    it serves requests. The state folder and log files belong to this user. Like `group`, this setting belongs to the
    node, and a change needs a restart."""
    group: str | int | None
    """Group to switch to, together with `user`. The default is the user's own group."""
    trusted_proxies: Texts
    """Addresses and networks of proxies whose `X-Forwarded-…` fields the gateway believes."""
    hosts: str | Texts
    """Host names that the gateway serves, without port; `*.example.org` matches all subdomains. Requests for other
    hosts get 421. The default is all hosts."""
    via: bool
    """Add `Via: 1.1 pylae` to requests to services, and to their responses (RFC 9110 section 7.6.3). Some services
    treat requests with `Via` differently: nginx does not compress responses to them unless `gzip_proxied` allows it."""
    cluster: ClusterLike | None
    """Several gateways that share limits through a store, Valkey or Redis. Like `user`, this setting belongs to the
    node, and a change needs a restart. By default a gateway counts alone."""
    limits: LimitsLike
    """Limits and timeouts for clients."""
    auth: AuthConfigLike | None
    """Authenticators, which find out which user sent a request."""
    include: str | Texts
    """Further files with `services` and `routes`: names, or patterns such as `routes/*.yaml`, relative to this file.
    Their content is appended to that of this file, in the order of the entries and, within a pattern, of the file
    names. Only the main file can include others."""
    services: Mapping[str, ServiceLike]
    """Services by name."""
    routes: Sequence[RouteLike]
    """Routes. The most specific route that matches a request takes it. Their order matters only between patterns."""
    hooks: HookSetLike
    """Python functions that see requests and responses, in the order in which a request meets them, and the processes
    that run them."""
    plugins: Sequence[PluginUseLike]
    """Plugins, which run after `hooks`."""
    policies: PolicySetLike
    """Policies for all routes. A route can override each of them by its name, or switch it off with `false`."""
    errors: Mapping[str | int, Mapping[Literal["html", "json"], str]]
    """Error pages that replace the gateway's own error bodies, by status (`404`, `4xx`, `5xx`, `default`) and format
    (`html`, `json`). File names are relative to the configuration."""
    log: LogSettingsLike
    """The gateway's own log: its level, in all or by area, and its format."""
    health: ThresholdsLike
    """Thresholds at which the gateway reports itself as degraded or unhealthy."""
    admin: AdminLike | bool | None
    """The admin API. The default address is 127.0.0.1:9901; `false` switches the API off."""
    telemetry: TelemetryLike | None
    """What is sent to OpenTelemetry collectors: traces, metrics, and the access log."""
    state: str | None
    """Folder, relative to the configuration, for what outlives a restart: the admin token, a configuration applied over
    the admin API, and registered instances. It also contains the socket for `pylae status` and other commands. The
    default is a folder for this gateway in the user's state directory."""
    store: StoreSettingsLike
    """Where the gateway keeps what people change: SQLite in the state folder, or PostgreSQL or etcd for several
    gateways. Like `user`, this setting belongs to the node, and a change needs a restart."""
    rollout: RolloutSettingsLike
    """How this configuration is rolled out to the nodes that share a `store`."""


class CallOptionsFields(TypedDict, total=False):
    """Fields of `CallOptions`."""

    timeout: DurationLike
    """Longest time of one call. After that, the call has failed."""
    on_error: Literal["fail", "skip"]
    """What to do if a call fails: `fail` answers 500, `skip` continues as if the function were not there."""
    blocking: bool
    """Set this if the function blocks, for example on files, databases or locks. It then runs on a pool of threads."""
    waits: bool | None
    """Whether an async function waits for something, and so must run on an asyncio loop. By default the gateway reads
    this from the function's code: a function that awaits only `call_next(…)`, `request.body()` and `request.json()`
    does not wait."""
    budget: DurationLike | None
    """Time that one call may occupy a worker. A function that repeatedly takes longer moves to the pool of threads, or
    to the asyncio loop if it is async, until the next reload. `null` never moves it."""
    body: bool | SizeLike
    """Let the function read the body. The gateway then reads the whole body into memory: up to 1 MB with `true`, or up
    to the size given here."""


class HookOptionsFields(TypedDict, total=False):
    """Fields of `HookOptions`."""

    timeout: DurationLike
    """Longest time of one call. After that, the call has failed."""
    on_error: Literal["fail", "skip"]
    """What to do if a call fails: `fail` answers 500, `skip` continues as if the function were not there."""
    blocking: bool
    """Set this if the function blocks, for example on files, databases or locks. It then runs on a pool of threads."""
    waits: bool | None
    """Whether an async function waits for something, and so must run on an asyncio loop. By default the gateway reads
    this from the function's code: a function that awaits only `call_next(…)`, `request.body()` and `request.json()`
    does not wait."""
    budget: DurationLike | None
    """Time that one call may occupy a worker. A function that repeatedly takes longer moves to the pool of threads, or
    to the asyncio loop if it is async, until the next reload. `null` never moves it."""
    body: bool | SizeLike
    """Let the function read the body. The gateway then reads the whole body into memory: up to 1 MB with `true`, or up
    to the size given here."""
    stage: Literal["early", "late"] | None
    """`early` hooks run before the gateway looks for a route, and see all responses, also those that the gateway itself
    makes. `late` hooks run after all policies of the route. The default is `late`, except for middleware without
    `routes`, which is early."""
    malformed: bool
    """Let an early response hook also see the responses to malformed requests (400, 408, 414, 431). Such requests have
    few readable attributes."""


class AuthenticatorOptionsFields(TypedDict, total=False):
    """Fields of `AuthenticatorOptions`."""

    timeout: DurationLike
    """Longest time of one call. After that, the call has failed."""
    on_error: Literal["fail", "skip"]
    """What to do if a call fails: `fail` answers 500, `skip` continues as if the function were not there."""
    blocking: bool
    """Set this if the function blocks, for example on files, databases or locks. It then runs on a pool of threads."""
    waits: bool | None
    """Whether an async function waits for something, and so must run on an asyncio loop. By default the gateway reads
    this from the function's code: a function that awaits only `call_next(…)`, `request.body()` and `request.json()`
    does not wait."""
    budget: DurationLike | None
    """Time that one call may occupy a worker. A function that repeatedly takes longer moves to the pool of threads, or
    to the asyncio loop if it is async, until the next reload. `null` never moves it."""
    body: bool | SizeLike
    """Let the function read the body. The gateway then reads the whole body into memory: up to 1 MB with `true`, or up
    to the size given here."""
    key: str | Texts | None
    """Part of the request that the function sees: `header:NAME`, `query:NAME`, `cookie:NAME`, `client_certificate`, or
    several of them. The function is not called for requests without it. By default the function sees the whole
    request."""
    cache: DurationLike | None
    """How long a result is remembered, by the value of `key`. A reload and the revocation of the user end it."""
    challenge: str | None
    """Scheme in the `WWW-Authenticate` of a 401, such as `Bearer`. The default is the authenticator's name."""
    forward_credentials: bool
    """Send the header fields and query parameters of `key` to instances."""
    paths: str | Texts
    """Paths that the authenticator serves itself, independent of routes, such as the callback of a login. For these
    requests the function sees the whole request, including the body if `body` is set, and must return a response."""


CertifiedKeyLike: TypeAlias = CertifiedKey | CertifiedKeyFields
"""What stands for `CertifiedKey`, and that itself."""
ClientAuthLike: TypeAlias = ClientAuth | ClientAuthFields | str
"""What stands for `ClientAuth`, and that itself."""
ListenerTlsLike: TypeAlias = ListenerTls | ListenerTlsFields | Literal["auto"]
"""What stands for `ListenerTls`, and that itself."""
ListenerLike: TypeAlias = Listener | ListenerFields | str
"""What stands for `Listener`, and that itself."""
ServiceTlsLike: TypeAlias = ServiceTls | ServiceTlsFields
"""What stands for `ServiceTls`, and that itself."""
ClusterLike: TypeAlias = Cluster | ClusterFields
"""What stands for `Cluster`, and that itself."""
Http2LimitsLike: TypeAlias = Http2Limits | Http2LimitsFields
"""What stands for `Http2Limits`, and that itself."""
LimitsLike: TypeAlias = Limits | LimitsFields
"""What stands for `Limits`, and that itself."""
ClaimNamesLike: TypeAlias = ClaimNames | ClaimNamesFields
"""What stands for `ClaimNames`, and that itself."""
DpopLike: TypeAlias = Dpop | DpopFields
"""What stands for `Dpop`, and that itself."""
JwtLike: TypeAlias = Jwt | JwtFields
"""What stands for `Jwt`, and that itself."""
IntrospectionLike: TypeAlias = Introspection | IntrospectionFields
"""What stands for `Introspection`, and that itself."""
ConsumerLike: TypeAlias = Consumer | ConsumerFields | str | Texts
"""What stands for `Consumer`, and that itself."""
ApiKeyLike: TypeAlias = ApiKey | ApiKeyFields
"""What stands for `ApiKey`, and that itself."""
AccountLike: TypeAlias = Account | AccountFields | str
"""What stands for `Account`, and that itself."""
BasicLike: TypeAlias = Basic | BasicFields
"""What stands for `Basic`, and that itself."""
CertifiedUserLike: TypeAlias = CertifiedUser | CertifiedUserFields
"""What stands for `CertifiedUser`, and that itself."""
ClientCertificateLike: TypeAlias = ClientCertificate | ClientCertificateFields
"""What stands for `ClientCertificate`, and that itself."""
OidcLike: TypeAlias = Oidc | OidcFields
"""What stands for `Oidc`, and that itself."""
ForwardAuthHeadersLike: TypeAlias = ForwardAuthHeaders | ForwardAuthHeadersFields
"""What stands for `ForwardAuthHeaders`, and that itself."""
ForwardAuthLike: TypeAlias = ForwardAuth | ForwardAuthFields
"""What stands for `ForwardAuth`, and that itself."""
FunctionAuthenticatorLike: TypeAlias = FunctionAuthenticator | FunctionAuthenticatorFields | str
"""What stands for `FunctionAuthenticator`, and that itself."""
AuthenticatorUseLike: TypeAlias = AuthenticatorUse | AuthenticatorUseFields | str
"""What stands for `AuthenticatorUse`, and that itself."""
AuthConfigLike: TypeAlias = AuthConfig | AuthConfigFields
"""What stands for `AuthConfig`, and that itself."""
InstanceLike: TypeAlias = Instance | InstanceFields | str
"""What stands for `Instance`, and that itself."""
DnsDiscoveryLike: TypeAlias = DnsDiscovery | DnsDiscoveryFields | str
"""What stands for `DnsDiscovery`, and that itself."""
FileDiscoveryLike: TypeAlias = FileDiscovery | FileDiscoveryFields | str
"""What stands for `FileDiscovery`, and that itself."""
HeartbeatDiscoveryLike: TypeAlias = HeartbeatDiscovery | HeartbeatDiscoveryFields
"""What stands for `HeartbeatDiscovery`, and that itself."""
ConsulDiscoveryLike: TypeAlias = ConsulDiscovery | ConsulDiscoveryFields | str
"""What stands for `ConsulDiscovery`, and that itself."""
DockerDiscoveryLike: TypeAlias = DockerDiscovery | DockerDiscoveryFields | str
"""What stands for `DockerDiscovery`, and that itself."""
DiscoveryLike: TypeAlias = Discovery | DiscoveryFields
"""What stands for `Discovery`, and that itself."""
LoadBalancerLike: TypeAlias = LoadBalancer | LoadBalancerFields | BalancerKind
"""What stands for `LoadBalancer`, and that itself."""
StickyLike: TypeAlias = Sticky | StickyFields
"""What stands for `Sticky`, and that itself."""
HealthCheckLike: TypeAlias = HealthCheck | HealthCheckFields
"""What stands for `HealthCheck`, and that itself."""
PassiveHealthLike: TypeAlias = PassiveHealth | PassiveHealthFields
"""What stands for `PassiveHealth`, and that itself."""
CircuitBreakerLike: TypeAlias = CircuitBreaker | CircuitBreakerFields
"""What stands for `CircuitBreaker`, and that itself."""
RetryBudgetLike: TypeAlias = RetryBudget | RetryBudgetFields
"""What stands for `RetryBudget`, and that itself."""
QueueLike: TypeAlias = Queue | QueueFields
"""What stands for `Queue`, and that itself."""
ClientCredentialsLike: TypeAlias = ClientCredentials | ClientCredentialsFields
"""What stands for `ClientCredentials`, and that itself."""
ServiceLike: TypeAlias = Service | ServiceFields
"""What stands for `Service`, and that itself."""
AccessLogLike: TypeAlias = AccessLog | AccessLogFields
"""What stands for `AccessLog`, and that itself."""
HstsLike: TypeAlias = Hsts | HstsFields | str | bool | None
"""What stands for `Hsts`, and that itself."""
SecurityHeadersLike: TypeAlias = SecurityHeaders | SecurityHeadersFields
"""What stands for `SecurityHeaders`, and that itself."""
CompressionLike: TypeAlias = Compression | CompressionFields | str | Texts
"""What stands for `Compression`, and that itself."""
ChangesLike: TypeAlias = Changes | ChangesFields
"""What stands for `Changes`, and that itself."""
TransformLike: TypeAlias = Transform | TransformFields
"""What stands for `Transform`, and that itself."""
IpAccessLike: TypeAlias = IpAccess | IpAccessFields
"""What stands for `IpAccess`, and that itself."""
CorsLike: TypeAlias = Cors | CorsFields | str | Texts
"""What stands for `Cors`, and that itself."""
AddressLimitLike: TypeAlias = AddressLimit | AddressLimitFields | int | str
"""What stands for `AddressLimit`, and that itself."""
AddressConcurrencyLike: TypeAlias = AddressConcurrency | AddressConcurrencyFields | int
"""What stands for `AddressConcurrency`, and that itself."""
AddressLimitsLike: TypeAlias = AddressLimits | AddressLimitsFields | AddressLimitLike | Sequence[AddressLimitLike]
"""What stands for `AddressLimits`, and that itself."""
ClaimTestLike: TypeAlias = ClaimTest | ClaimTestFields | str | float | bool | Texts
"""What stands for `ClaimTest`, and that itself."""
RequireLike: TypeAlias = Require | RequireFields
"""What stands for `Require`, and that itself."""
RateLimitLike: TypeAlias = RateLimit | RateLimitFields | int | str
"""What stands for `RateLimit`, and that itself."""
ConcurrencyLike: TypeAlias = Concurrency | ConcurrencyFields | int
"""What stands for `Concurrency`, and that itself."""
RateLimitsLike: TypeAlias = RateLimits | RateLimitsFields | RateLimitLike | Sequence[RateLimitLike]
"""What stands for `RateLimits`, and that itself."""
RedirectLike: TypeAlias = Redirect | RedirectFields | str
"""What stands for `Redirect`, and that itself."""
StaticResponseLike: TypeAlias = StaticResponse | StaticResponseFields | str
"""What stands for `StaticResponse`, and that itself."""
JsonBodyLike: TypeAlias = JsonBody | JsonBodyFields
"""What stands for `JsonBody`, and that itself."""
ValidationLike: TypeAlias = Validation | ValidationFields
"""What stands for `Validation`, and that itself."""
CacheLike: TypeAlias = Cache | CacheFields | DurationLike
"""What stands for `Cache`, and that itself."""
MirrorLike: TypeAlias = Mirror | MirrorFields | str
"""What stands for `Mirror`, and that itself."""
ValueTestLike: TypeAlias = ValueTest | ValueTestFields | str | int | bool
"""What stands for `ValueTest`, and that itself."""
WhenLike: TypeAlias = When | WhenFields
"""What stands for `When`, and that itself."""
MemberHeadersLike: TypeAlias = MemberHeaders | MemberHeadersFields
"""What stands for `MemberHeaders`, and that itself."""
SplitMemberLike: TypeAlias = SplitMember | SplitMemberFields | str
"""What stands for `SplitMember`, and that itself."""
SplitStickyLike: TypeAlias = SplitSticky | SplitStickyFields | Literal["cookie"]
"""What stands for `SplitSticky`, and that itself."""
WebSocketLike: TypeAlias = WebSocket | WebSocketFields
"""What stands for `WebSocket`, and that itself."""
RouteLike: TypeAlias = Route | RouteFields
"""What stands for `Route`, and that itself."""
HookSettingsLike: TypeAlias = HookSettings | HookSettingsFields
"""What stands for `HookSettings`, and that itself."""
HookSetLike: TypeAlias = HookSet | HookSetFields | Sequence[HookSettingsLike]
"""What stands for `HookSet`, and that itself."""
PluginUseLike: TypeAlias = PluginUse | PluginUseFields
"""What stands for `PluginUse`, and that itself."""
PolicySetLike: TypeAlias = PolicySet | PolicySetFields
"""What stands for `PolicySet`, and that itself."""
LogSettingsLike: TypeAlias = LogSettings | LogSettingsFields | str
"""What stands for `LogSettings`, and that itself."""
ThresholdsLike: TypeAlias = Thresholds | ThresholdsFields
"""What stands for `Thresholds`, and that itself."""
AdminLike: TypeAlias = Admin | AdminFields | str
"""What stands for `Admin`, and that itself."""
KeepLike: TypeAlias = Keep | KeepFields
"""What stands for `Keep`, and that itself."""
TracesLike: TypeAlias = Traces | TracesFields | str
"""What stands for `Traces`, and that itself."""
ExportedMetricsLike: TypeAlias = ExportedMetrics | ExportedMetricsFields | str
"""What stands for `ExportedMetrics`, and that itself."""
ExportedLogsLike: TypeAlias = ExportedLogs | ExportedLogsFields | str
"""What stands for `ExportedLogs`, and that itself."""
TelemetryLike: TypeAlias = Telemetry | TelemetryFields
"""What stands for `Telemetry`, and that itself."""
StoreSettingsLike: TypeAlias = StoreSettings | StoreSettingsFields | str
"""What stands for `StoreSettings`, and that itself."""
RolloutSettingsLike: TypeAlias = RolloutSettings | RolloutSettingsFields
"""What stands for `RolloutSettings`, and that itself."""
ConfigLike: TypeAlias = Config | ConfigFields
"""What stands for `Config`, and that itself."""
CallOptionsLike: TypeAlias = CallOptions | CallOptionsFields
"""What stands for `CallOptions`, and that itself."""
HookOptionsLike: TypeAlias = HookOptions | HookOptionsFields
"""What stands for `HookOptions`, and that itself."""
AuthenticatorOptionsLike: TypeAlias = AuthenticatorOptions | AuthenticatorOptionsFields
"""What stands for `AuthenticatorOptions`, and that itself."""
