"""Splits, which share the requests of a route out among several services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import AfterValidator, Field, PlainSerializer, SecretStr, model_validator

from pylae.config.models.base import Count, Settings, refusal
from pylae.config.models.condition import Expression, ValueTest
from pylae.config.models.service import ServiceName, field_name
from pylae.policies.cors import Names
from pylae.policies.transform import Fields
from pylae.units import Duration

if TYPE_CHECKING:
    from pylae.settings.fields import MemberHeadersFields, SplitMemberFields, SplitStickyFields, WhenFields


class When(Settings):
    """Conditions on a request. It must meet all of them."""

    main = ("header", "cookie", "expression")

    header: dict[Annotated[str, AfterValidator(field_name)], ValueTest] = {}
    """Conditions on request fields, by name."""
    cookie: dict[Annotated[str, AfterValidator(field_name)], ValueTest] = {}
    """Conditions on cookies, by name."""
    expression: Expression | None = None
    """A condition in CEL, e.g. `request.query.preview == '1'`. The user is not known yet. A request for which it cannot
    be told does not meet it. The [guide](../guide/conditions.md) lists what it may use."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[WhenFields]) -> None: ...

    @model_validator(mode="after")
    def _asks(self) -> When:
        if not self.header and not self.cookie and self.expression is None:
            raise refusal("needs a `header`, a `cookie` or an `expression`", "e.g. {header: {X-Canary: true}}")
        return self


class MemberHeaders(Settings):
    """Changes to the requests that go to one member, in the order `remove`, `set`."""

    remove: Names = ()
    """Fields to remove."""
    set: Fields = {}
    """Fields to set. The value replaces all values that the field has."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[MemberHeadersFields]) -> None: ...


class SplitMember(Settings):
    """A service that gets some of the requests of a route. A text is short for `service`."""

    short = {"type": "string"}

    service: ServiceName
    """Name of the service."""
    weight: Count | None = None
    """Share, relative to the other members, of the requests that match no `when`. The default is 1, or 0 for a member
    with `when`. A member with weight 0 gets only the requests that match its `when`."""
    when: When | None = None
    """Requests that match these conditions go to this member, whatever its weight. If several members match, the first
    one gets the request."""
    headers: MemberHeaders = MemberHeaders()
    """Changes to the requests that go to this member. They are made after all others."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[SplitMemberFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"service": value} if isinstance(value, str) else value

    @property
    def share(self) -> int:
        """The effective weight."""
        return self.weight if self.weight is not None else int(self.when is None)


class SplitSticky(Settings):
    """Keeps a client on one member with a cookie. `cookie` is short for the defaults."""

    short = {"type": "string", "enum": ["cookie"]}
    main = ("cookie",)

    cookie: Annotated[str, AfterValidator(field_name)] = "pylae_split"
    """Name of the cookie that the gateway sets."""
    ttl: Duration | None = None
    """`Max-Age` of the cookie. Without it, the cookie ends with the browser session."""
    secret: Annotated[SecretStr, PlainSerializer(SecretStr.get_secret_value)] | None = Field(
        default=None, exclude_if=lambda secret: secret is None
    )
    """Secret key for the ids in the cookies. With it, a client cannot choose its member by forging a cookie. Gateways
    that serve the same clients need the same secret."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[SplitStickyFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {} if value == "cookie" else value
