"""Routes: which requests they take, where these go, and under which policies."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from pylae.config.models.base import Count, Settings, Switch, also, refusal, split_words
from pylae.config.models.service import CircuitBreaker, InstanceUrl, field_name
from pylae.config.models.websocket import WebSocket
from pylae.policies import PolicySet
from pylae.units import Duration

if TYPE_CHECKING:
    from pylae.settings.fields import RouteFields, ValueTestFields

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
_SERVICE_NAME = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]{0,199}")


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


def service_name(text: str) -> str:
    """A name of a service: letters, digits, dots, colons, hyphens and underscores."""
    if not _SERVICE_NAME.fullmatch(text):
        raise refusal("must be letters, digits, dots, colons, hyphens and underscores, at most 200")
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


HostName = Annotated[str, AfterValidator(_host)]
"""A host without port, or `*.` and what its name ends in."""
ServiceName = Annotated[str, AfterValidator(service_name)]
Template = Annotated[str, AfterValidator(_template)]


class ValueTest(Settings):
    """A condition on a field or parameter: `true` for present, a text for equal, or `{pattern: …}`."""

    short = {"type": ["string", "integer", "boolean"]}

    equals: str | None = None
    """One of its values is this."""
    pattern: str | None = None
    """One of its values matches this regular expression from its start."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ValueTestFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if value is True:
            return {}
        if value is False or isinstance(value, float):
            raise refusal("must be a text, `true` for present, or {pattern: …}", "put quotes around it")
        return {"equals": str(value)} if isinstance(value, str | int) else value

    @model_validator(mode="after")
    def _one(self) -> ValueTest:
        if self.equals is not None and self.pattern is not None:
            raise refusal("give either `equals` or `pattern`")
        return self


class Route(PolicySet):
    """A route: requests that match all its clauses go to its service. Every policy is a key of it too.

    Exactly one of `path`, `prefix` and `pattern` is required, and one of `service` and `service_url`.
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
    circuit_breaker: Switch[CircuitBreaker] = None
    """Circuit breaker of the service that `service_url` declares. A service under `services` says this itself."""
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
        if self.service is None and self.service_url is None and not answers:
            raise refusal("needs `service`", "name one of `services`, or give `service_url`")
        return self

    @property
    def service_key(self) -> str:
        """Name of the route's service; that of `service_url`'s address if none is given; empty if a policy answers."""
        return self.service or (self.service_url or "").removeprefix("http://")
