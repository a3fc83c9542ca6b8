"""Services that decide about each request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pylae.config.models.authenticators.asking import AskingAuthenticator, ServerUrl
from pylae.config.models.authenticators.kind import AuthenticatorName, Identity, one_or_more
from pylae.config.models.base import Settings, refusal, split_words
from pylae.config.models.service import field_name
from pylae.units import ByteSize, Duration

if TYPE_CHECKING:
    from pylae.settings.fields import ForwardAuthFields, ForwardAuthHeadersFields

_GATEWAYS = frozenset(
    (
        *("connection", "content-encoding", "content-length", "expect", "forwarded", "host", "http2-settings"),
        *("keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "via", "x-real-ip"),
        "x-request-id",
    )
)
"""Fields that the gateway writes itself."""
_CLIENTS = frozenset(("authorization", "cookie", "set-cookie", "proxy-authorization"))
_USERS = frozenset(("x-user-id", "x-user-role", "x-user-email"))


def _is_gateways(name: str) -> bool:
    return name in _GATEWAYS or name.startswith("x-forwarded")


def _sent(text: str) -> str:
    name = field_name(text).lower()
    if _is_gateways(name) or name in _USERS:
        raise refusal(f"{name} is a field that the gateway writes itself")
    return name


def _told(text: str) -> str:
    """A field of the service's answer that no client may send."""
    name = field_name(text).lower()
    if _is_gateways(name):
        raise refusal(f"{name} is a field that the gateway writes itself")
    if name in _CLIENTS:
        hint = "have the service answer with a field of its own, such as X-Auth-Request-Access-Token"
        raise refusal(f"{name} would be taken out of every client's request, on all routes", hint)
    return name


def _copied(text: str) -> str:
    name = _told(text)
    if name in _USERS:
        raise refusal(f"{name} is written by the gateway, from `headers`")
    return name


def _part(text: str) -> str:
    kind, colon, name = text.partition(":")
    if kind == "header" and colon:
        return f"header:{_sent(name)}"
    if kind == "cookie" and name:
        return text
    raise refusal("is no part of a request that holds a credential", "write `header:NAME` or `cookie:NAME`")


_Told = Annotated[str, AfterValidator(_told)]


class ForwardAuthHeaders(Settings):
    """Header fields of a service's answer that describe the user. `null` for none."""

    id: _Told = "remote-user"
    """The user's id."""
    email: _Told | None = "remote-email"
    """The e-mail address."""
    role: _Told | None = "remote-groups"
    """The role, or several separated by commas."""
    permissions: _Told | None = None
    """The permissions, separated by commas or spaces."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ForwardAuthHeadersFields]) -> None: ...


class ForwardAuth(AskingAuthenticator):
    """A service that decides about each request: 2xx lets it pass, and says who the user is.

    It is asked with GET, and never sees a body.

    Example:
        ```yaml
        auth:
          forward_auth:
            url: http://authelia:9091/api/authz/forward-auth
            copy_headers: Remote-Name
        ```
    """

    name: AuthenticatorName = "forward_auth"
    """Name by which routes choose it. Required if there are several."""
    url: ServerUrl
    """URL of the service."""
    forward_headers: (
        Annotated[
            tuple[Annotated[str, AfterValidator(_sent)], ...],
            BeforeValidator(one_or_more, json_schema_input_type=str | list[str]),
        ]
        | None
    ) = None
    """Header fields of the request that the service sees besides `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and
    `-For`. The default is Authorization and Cookie. With `key`, it sees the parts of that instead."""
    headers: ForwardAuthHeaders = ForwardAuthHeaders()
    """Header fields of the answer that describe the user. They are taken out of every client's request."""
    default_user: Identity | None = None
    """Id of the user if the service lets a request pass without one. By default nobody is known then, which is enough
    only where no user is required."""
    copy_headers: Annotated[
        tuple[Annotated[str, AfterValidator(_copied)], ...],
        BeforeValidator(one_or_more, json_schema_input_type=str | list[str]),
    ] = ()
    """Further header fields of the answer that instances get. They are taken out of every client's request, on all
    routes, and are claims of the user, by their names in lower case."""
    cache: Duration | None = None
    """Longest time for which a verdict (2xx, 401, 403) is remembered, at most as long as its `Cache-Control` allows. By
    default each request is asked about."""
    key: (
        Annotated[
            tuple[Annotated[str, AfterValidator(_part)], ...],
            BeforeValidator(split_words, json_schema_input_type=str | list[str]),
            Field(min_length=1),
        ]
        | None
    ) = None
    """What a verdict is remembered by: `header:NAME`, `cookie:NAME`, or several of them. Method, scheme, host, path and
    query belong to it too. The service sees nothing else of the request. No verdict is remembered for a request that
    has none of these parts."""
    key_path: bool = True
    """`false` leaves method, scheme, host, path and query out of `key`, and the service does not see them."""
    max_size: Annotated[ByteSize, Field(ge=1024, le=2**20)] = 64 * 1024
    """Largest body of an answer."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ForwardAuthFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> ForwardAuth:
        if self.cache is not None and self.key is None:
            hint = 'say by what, as in `key: "cookie:session"`'
            raise refusal("`cache` needs `key`, by which verdicts are remembered", hint)
        if self.key is not None and self.forward_headers is not None:
            raise refusal("`forward_headers` and `key` exclude each other", "the service sees the parts of `key`")
        if not self.key_path and self.key is None:
            raise refusal("`key_path` needs `key`")
        reserved = self.reserved
        if clash := next((part for part in self.key or () if part.removeprefix("header:") in reserved), None):
            raise refusal(f"`key`: no client can send {clash.removeprefix('header:')}, which the service answers with")
        return self

    @property
    def reserved(self) -> tuple[str, ...]:
        """Header fields that no client may send, in lower case."""
        told = (self.headers.id, self.headers.email, self.headers.role, self.headers.permissions)
        return tuple(dict.fromkeys([*filter(None, told), *self.copy_headers]))

    @property
    def servers(self) -> Iterator[tuple[str, str]]:
        yield "url", self.url

    def plan(self) -> dict[str, Any]:
        key = [*self.key, *(["target"] if self.key_path else [])] if self.key else None
        return {
            "kind": "function",
            "via": {"forward_auth": {"copy": list(self.copy_headers), "reserved": list(self.reserved)}},
            "challenge": self.name,
            "key": key,
            **self.model_dump(mode="json", include={"cache"}),
            "forward_credentials": True,
        }
