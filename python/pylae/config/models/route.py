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

# IANA's registry of methods without CONNECT and PRI, which a gateway refuses, and PURGE, which caches have.
METHODS = frozenset(
    """ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL
    MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH
    TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL""".split()  # noqa: SIM905
)
_COMMON = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*|\[[0-9a-f:.]+\]")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_FOREIGN = re.compile(r"<([A-Za-z_]\w*(\([^<>]*\))?:)?[A-Za-z_]\w*>")
"""A parameter as Flask and Django write it."""


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
    if any(letter <= " " or letter in "?#\x7f" for letter in text):
        raise refusal("a path has no spaces, `?` or `#`", "queries are compared by `query`")
    return text


def _template(text: str) -> str:
    if _FOREIGN.search(text):
        raise refusal(
            "parameters stand in braces",
            "write {id} for <id>, {id:int} for <int:id>, and {rest:path} for <path:rest>",
        )
    return _path(text)


def _prefix(text: str) -> str:
    if "{" in text or _FOREIGN.search(text):
        raise refusal(
            "a prefix has no parameters", "write `path: /api/{x}/{rest:path}`, which takes all below `/api/{x}/`"
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
        raise refusal("no member could ever be chosen: all weights are 0", "give one of them a weight or a `when`")
    return members


HostName = Annotated[str, AfterValidator(_host)]
"""A host without port, or `*.` and what its name ends in."""
Template = Annotated[str, AfterValidator(_template)]


class Route(PolicySet):
    """A route: requests that match all its clauses go to its service. Every policy is a key of it too.

    Exactly one of `path`, `prefix` and `pattern` is required, and one of `service`, `service_url` and `split`.
    """

    name: Annotated[str, AfterValidator(_route_name)] | None = None
    """Unique name, in logs and metrics. Derived from methods, host and path if none is given."""
    path: Template | None = None
    """The whole path; with braces a template: `/users/{id}`, `{id:int}`, `{rest:path}` (last segment only)."""
    prefix: Annotated[str, AfterValidator(_prefix)] | None = None
    """The path, or the path continued behind a `/`."""
    pattern: Annotated[str, Field(min_length=1)] | None = None
    """Regular expression from the start of the path. Goes before every prefix, and before patterns further down."""
    method: Annotated[
        tuple[Annotated[str, BeforeValidator(_method)], ...],
        BeforeValidator(split_words, json_schema_input_type=str | list[str]),
    ] = Field(default=(), validation_alias=also("method"))
    """Methods: one, `A|B`, or a list. All if none is given."""
    host: Annotated[tuple[HostName, ...], BeforeValidator(split_words, json_schema_input_type=str | list[str])] = Field(
        default=(), validation_alias=also("host")
    )
    """Host names without port; `*.example.org` for any labels in front. All if none is given."""
    headers: dict[Annotated[str, AfterValidator(field_name)], ValueTest] = {}
    """Conditions on request fields by name."""
    query: dict[str, ValueTest] = {}
    """Conditions on query parameters by name."""
    priority: Annotated[int, Field(ge=-(2**31), lt=2**31)] = 0
    """Higher wins before anything else is compared."""
    service: ServiceName | None = Field(default=None, validation_alias=also("service"))
    """Name of the service."""
    service_url: InstanceUrl | None = None
    """Declares the service, with this one instance."""
    split: Annotated[tuple[SplitMember, ...], Field(max_length=64), AfterValidator(_members)] = ()
    """Splits the requests over several services, in place of `service`: by conditions, and by weight otherwise."""
    sticky: Switch[SplitSticky] = None
    """Keeps a client on the member of `split` that was chosen for it by weight; off unless given. `cookie` is short for
    the defaults."""
    circuit_breaker: Switch[CircuitBreaker] = None
    """Circuit breaker of the service that `service_url` declares. Off unless given in a file, on unless switched off in
    a Python program. A service under `services` says this itself."""
    timeout: Duration = timedelta(seconds=30)
    """Time per attempt until the head of the response."""
    idle_timeout: Duration = timedelta(seconds=60)
    """Longest silence between two pieces of a body."""
    deadline: Duration | None = None
    """Time over all attempts until the head of the response."""
    retries: Count = Field(default=3, validation_alias=also("retries"))
    """Most further attempts after the first."""
    retry_on: Annotated[
        tuple[Literal["reset", "timeout", "gateway_error", "server_error"], ...],
        BeforeValidator(split_words, json_schema_input_type=str | list[str]),
    ] = ()
    """What is retried besides connect failures and failures of idempotent requests: `reset`, `timeout`,
    `gateway_error` (502, 503, 504), `server_error` (any 5xx); one, `A|B`, or a list."""
    preserve_host: bool | None = None
    """Whether instances are sent the client's `Host` or their own; the service says so if none is given."""
    strip_prefix: Annotated[bool | str, PlainValidator(_strip, json_schema_input_type=bool | str)] = False
    """Prefix taken off the path before it is sent on; `true` is the route's own `prefix`."""
    rewrite: Template | None = None
    """Path template that replaces the path, with captured names: `/v2/{id}`."""
    encoded_slash: Literal["reject", "keep"] = "reject"
    """What becomes of `%2F` in the path: `reject` answers 400; with `keep` it is a letter of its segment, and is sent
    on as such. Where it leads to a route that lets in others when it is read as `/`, the answer is 400 all the same."""
    websocket: Switch[WebSocket] = None
    """Lets requests become WebSockets; off unless given."""
    auth_required: bool = True
    """Whether a request needs an authenticated user."""
    auth: (
        Annotated[
            tuple[str, ...], BeforeValidator(split_words, json_schema_input_type=str | list[str]), Field(min_length=1)
        ]
        | None
    ) = None
    """Authenticators by name, any of which will do: one, `A|B`, or a list. All if none is given. With
    `auth_required: false` a user who presents a credential is known, and one who does not passes too."""
    permissions: Annotated[tuple[str, ...], BeforeValidator(split_words, json_schema_input_type=str | list[str])] = ()
    """Permissions that the user needs, all of them."""
    roles: Annotated[tuple[str, ...], BeforeValidator(split_words, json_schema_input_type=str | list[str])] = ()
    """Roles of which the user needs one: one, `A|B`, or a list. Any user will do if none is given."""

    errors: ErrorPages = {}
    """Error pages of this route, as `errors` of the gateway, before which they go."""

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
        if self.websocket and answers:
            raise refusal("`websocket` needs a service, but a policy of the route answers")
        if self.split and (self.service is not None or self.service_url is not None):
            other = "service" if self.service is not None else "service_url"
            raise refusal(f"`split` and `{other}` both say where requests go; only one of them can be given")
        if self.split and self.circuit_breaker is not None:
            raise refusal("`circuit_breaker` belongs to the services of `split`", "say it there, under `services`")
        if self.sticky and not self.split:
            raise refusal("`sticky` needs `split`", "the `sticky` of a service keeps a client on one of its instances")
        if not (self.service or self.service_url or self.split or answers):
            raise refusal("needs `service`", "name one of `services`, or give `service_url` or `split`")
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of all services that get its requests."""
        return (self.service_key,) if self.service_key else tuple(dict.fromkeys(one.service for one in self.split))

    @property
    def service_key(self) -> str:
        """Name of the route's service; that of `service_url`'s address if none is given; empty without either."""
        return self.service or (self.service_url or "").removeprefix("http://")
