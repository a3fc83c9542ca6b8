"""Routes: which requests they take, where these go, and under which policies."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from pylae.config.models.base import Count, Switch, also, refusal, split_words
from pylae.config.models.condition import ValueTest
from pylae.config.models.errors import ErrorPages
from pylae.config.models.instance import InstanceUrl
from pylae.config.models.service import CircuitBreaker, ServiceName, field_name
from pylae.config.models.split import SplitMember, SplitSticky
from pylae.config.models.websocket import WebSocket
from pylae.policies import PolicySet
from pylae.units import Duration

if TYPE_CHECKING:
    from pylae.settings.fields import RouteFields

# IANA's registry of methods, without CONNECT and PRI, which a gateway refuses, and with PURGE, which caches use.
METHODS = frozenset(
    """ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL
    MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH
    TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL""".split()  # noqa: SIM905
)
_COMMON = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*|\[[0-9a-f:.]+\]")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_NOT_IN_PATHS = re.compile(r"[\x00-\x20?#\x7f]")
_FOREIGN = re.compile(r"<([A-Za-z_]\w*(\([^<>]*\))?:)?[A-Za-z_]\w*>")
"""A path parameter in the notation of Flask and Django."""


def _method(text: Any) -> Any:
    if isinstance(text, str) and text.upper() not in METHODS:
        raise refusal(
            f"unknown method; allowed are {', '.join(_COMMON)} and the others in IANA's registry",
            "leave `method` out to take every method" if text == "*" else None,
            known=_COMMON,
        )
    return text.upper() if isinstance(text, str) else text


def _host(text: str) -> str:
    host = text.lower()
    if not _HOST.fullmatch(host):
        raise refusal("is not a host name without port", 'write it like "api.example.org" or "*.example.org"')
    return host


def _route_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise refusal("must be 1 to 200 characters without control characters")
    return text


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise refusal("must start with `/`")
    if _NOT_IN_PATHS.search(text):
        raise refusal("a path cannot contain spaces, `?` or `#`", "use `query` to match query parameters")
    return text


def _template(text: str) -> str:
    if _FOREIGN.search(text):
        raise refusal(
            "path parameters are written in braces",
            "write {id} for <id>, {id:int} for <int:id>, and {rest:path} for <path:rest>",
        )
    return _path(text)


def _prefix(text: str) -> str:
    if "{" in text or _FOREIGN.search(text):
        raise refusal(
            "a prefix cannot have parameters", "write `path: /api/{x}/{rest:path}` for all paths below `/api/{x}/`"
        )
    return _path(text)


def _strip(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _path(value)
    raise refusal("must be true, false or a path prefix")


def _members(members: tuple[SplitMember, ...]) -> tuple[SplitMember, ...]:
    if members and not any(member.when or member.share for member in members):
        raise refusal("all weights are 0, so no member can be chosen", "give one of them a weight or a `when`")
    return members


HostName = Annotated[str, AfterValidator(_host)]
"""A host name without port, or `*.` and a domain."""
Template = Annotated[str, AfterValidator(_template)]


class Route(PolicySet):
    """A route sends the requests that match it to a service. Every policy can be a key of a route.

    Exactly one of `path`, `prefix` and `pattern` is required, and exactly one of `service`, `service_url` and `split`.
    A route with `redirect` or `static_response` needs no service.
    """

    name: Annotated[str, AfterValidator(_route_name)] | None = None
    """Unique name for logs and metrics. The default is made from methods, host and path."""
    path: Template | None = None
    """The whole path, or a template with parameters: `/users/{id}`, `/users/{id:int}`, `/files/{rest:path}`. A `path`
    parameter takes the rest of the path and must come last."""
    prefix: Annotated[str, AfterValidator(_prefix)] | None = None
    """Path prefix. It matches this path and everything below it: `/api` matches `/api` and `/api/users`, but not
    `/apis`."""
    pattern: Annotated[str, Field(min_length=1)] | None = None
    """Regular expression that must match from the start of the path. Patterns are tried before prefixes, in their
    order."""
    method: Annotated[
        tuple[Annotated[str, BeforeValidator(_method)], ...],
        BeforeValidator(split_words, json_schema_input_type=str | list[str]),
    ] = Field(default=(), validation_alias=also("method"))
    """Methods: one, `A|B`, or a list. The default is all."""
    host: Annotated[tuple[HostName, ...], BeforeValidator(split_words, json_schema_input_type=str | list[str])] = Field(
        default=(), validation_alias=also("host")
    )
    """Host names, without port; `*.example.org` matches all subdomains. The default is all."""
    headers: dict[Annotated[str, AfterValidator(field_name)], ValueTest] = Field(default_factory=dict)
    """Conditions on request fields, by name. All must be met."""
    query: dict[str, ValueTest] = Field(default_factory=dict)
    """Conditions on query parameters, by name. All must be met."""
    priority: Annotated[int, Field(ge=-(2**31), lt=2**31)] = 0
    """A route with a higher priority wins, however specific the others are."""
    service: ServiceName | None = Field(default=None, validation_alias=also("service"))
    """Name of the service that gets the requests."""
    service_url: InstanceUrl | None = None
    """URL of an instance. Declares a service with this one instance."""
    split: Annotated[tuple[SplitMember, ...], Field(max_length=64), AfterValidator(_members)] = ()
    """Shares the requests out among several services, by condition or by weight. Replaces `service`."""
    sticky: Switch[SplitSticky] = None
    """Keep a client on the member of `split` that was chosen for it by weight. `cookie` is short for the defaults. Off
    by default."""
    circuit_breaker: Switch[CircuitBreaker] = None
    """Circuit breaker of the service that `service_url` declares. The default is off in a file and on in a Python
    program. For services under `services`, set it there."""
    timeout: Duration = timedelta(seconds=30)
    """Time that an instance may take for each attempt, up to the head of its response."""
    idle_timeout: Duration = timedelta(seconds=60)
    """Longest pause between two pieces of a body."""
    deadline: Duration | None = None
    """Time for all attempts together, up to the head of the response. No limit unless given."""
    retries: Count = Field(default=3, validation_alias=also("retries"))
    """Most attempts after the first."""
    retry_on: Annotated[
        tuple[Literal["reset", "timeout", "gateway_error", "server_error"], ...],
        BeforeValidator(split_words, json_schema_input_type=str | list[str]),
    ] = ()
    """Failures to retry besides failed connections and failures of idempotent requests: `reset`, `timeout`,
    `gateway_error` (502, 503, 504), `server_error` (any 5xx). One, `A|B`, or a list."""
    preserve_host: bool | None = None
    """Send the client's `Host` to instances (true), or their own (false). The default is the service's
    `preserve_host`."""
    strip_prefix: Annotated[bool | str, PlainValidator(_strip, json_schema_input_type=bool | str)] = False
    """Prefix to remove from the path before the request is sent on. `true` removes the route's `prefix`."""
    rewrite: Template | None = None
    """Template of the path to send instead, with captured parameters: `/v2/{id}`."""
    encoded_slash: Literal["reject", "keep"] = "reject"
    """How to treat `%2F` in a path. `reject` answers 400. `keep` treats it as a character of its segment and sends it
    on unchanged; the answer is still 400 if the path, read with `/` instead, would lead to a route that admits other
    clients."""
    websocket: Switch[WebSocket] = None
    """Allow WebSocket connections. Off by default; `true` takes the default settings."""
    auth_required: bool = True
    """Require an authenticated user."""
    auth: (
        Annotated[
            tuple[str, ...], BeforeValidator(split_words, json_schema_input_type=str | list[str]), Field(min_length=1)
        ]
        | None
    ) = None
    """Names of the authenticators that may identify the user: one, `A|B`, or a list. The default is all. With
    `auth_required: false`, requests without credentials are allowed too."""
    permissions: Annotated[tuple[str, ...], BeforeValidator(split_words, json_schema_input_type=str | list[str])] = ()
    """Permissions that the user needs. All of them are required."""
    roles: Annotated[tuple[str, ...], BeforeValidator(split_words, json_schema_input_type=str | list[str])] = ()
    """Roles of which the user needs one: one, `A|B`, or a list. By default any user is allowed."""

    errors: ErrorPages = Field(default_factory=dict)
    """Error pages of this route. They take precedence over those of the gateway."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[RouteFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> Route:
        given = [kind for kind in ("path", "prefix", "pattern") if getattr(self, kind) is not None]
        if not given:
            raise refusal("needs one of `path`, `prefix` and `pattern`", "`prefix: /` takes every path")
        if len(given) > 1:
            raise refusal(f"has {' and '.join(f'`{kind}`' for kind in given)}; only one of them can be given")
        if self.strip_prefix is True and self.prefix is None:
            raise refusal("`strip_prefix: true` needs `prefix`", "or write the prefix: `strip_prefix: /api`")
        if self.strip_prefix and self.rewrite is not None:
            raise refusal("`strip_prefix` and `rewrite` both replace the path; only one of them can be given")
        answers = self.redirect or self.static_response
        if not self.auth_required and (self.permissions or self.roles):
            raise refusal("`permissions` and `roles` need a user", "leave out `auth_required: false`")
        if not self.auth_required and self.require and self.require.claims and not self.auth:
            raise refusal("`require.claims` need a user", "leave out `auth_required: false`")
        if self.websocket and answers:
            raise refusal("`websocket` needs a service, but `redirect` or `static_response` answers all requests")
        if self.split and (self.service is not None or self.service_url is not None):
            other = "service" if self.service is not None else "service_url"
            raise refusal(f"`split` and `{other}` both say where requests go; only one of them can be given")
        if self.split and self.circuit_breaker is not None:
            raise refusal("a route with `split` has no `circuit_breaker`", "set it on each service, under `services`")
        if self.sticky and not self.split:
            raise refusal("`sticky` needs `split`", "the `sticky` of a service keeps a client on one of its instances")
        if not (self.service or self.service_url or self.split or answers):
            raise refusal("needs `service`", "name one of `services`, or give `service_url` or `split`")
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of all services that get requests of this route."""
        return (self.service_key,) if self.service_key else tuple(dict.fromkeys(one.service for one in self.split))

    @property
    def service_key(self) -> str:
        """The name of the route's service, or the address in `service_url`. Empty without either."""
        return self.service or (self.service_url or "").removeprefix("http://")
