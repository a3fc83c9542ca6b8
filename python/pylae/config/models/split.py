"""Splits: the services that share the requests of a route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import AfterValidator, Field, PlainSerializer, SecretStr, model_validator

from pylae.config.models.base import Count, Settings, refusal
from pylae.config.models.condition import ValueTest
from pylae.config.models.service import ServiceName, field_name
from pylae.policies.cors import Names
from pylae.policies.transform import Fields
from pylae.units import Duration

if TYPE_CHECKING:
    from pylae.settings.fields import MemberHeadersFields, SplitMemberFields, SplitStickyFields, WhenFields


class When(Settings):
    """Conditions on a request, all of which it must meet."""

    main = ("header", "cookie")

    header: dict[Annotated[str, AfterValidator(field_name)], ValueTest] = {}
    """Conditions on request fields by name."""
    cookie: dict[Annotated[str, AfterValidator(field_name)], ValueTest] = {}
    """Conditions on cookies by name."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[WhenFields]) -> None: ...

    @model_validator(mode="after")
    def _asks(self) -> When:
        if not self.header and not self.cookie:
            raise refusal("needs a condition on a `header` or a `cookie`", "e.g. {header: {X-Canary: true}}")
        return self


class MemberHeaders(Settings):
    """Changes of the fields of requests that go to one member: removed first, then set."""

    remove: Names = ()
    """Fields that are taken out."""
    set: Fields = {}
    """Fields that get this value, in place of any that they have."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[MemberHeadersFields]) -> None: ...


class SplitMember(Settings):
    """A service that gets some of the requests of a route. A text is short for `service`."""

    short = {"type": "string"}

    service: ServiceName
    """Name of the service."""
    weight: Count | None = None
    """Its share, relative to the other members, of the requests that meet no `when`: 1 unless given, or 0 beside a
    `when`. With 0 it gets none of them."""
    when: When | None = None
    """Requests that it gets whatever its weight. Of several members whose `when` a request meets, the first gets it."""
    headers: MemberHeaders = MemberHeaders()
    """Changes of the requests that go to it, made last of all."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[SplitMemberFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"service": value} if isinstance(value, str) else value

    @property
    def share(self) -> int:
        """The weight that counts."""
        return self.weight if self.weight is not None else int(self.when is None)


class SplitSticky(Settings):
    """Keeps a client on one member by a cookie. `cookie` is short for the defaults."""

    short = {"type": "string", "enum": ["cookie"]}
    main = ("cookie",)

    cookie: Annotated[str, AfterValidator(field_name)] = "pylae_split"
    """Name of the cookie that the gateway sets."""
    ttl: Duration | None = None
    """`Max-Age` of the cookie; without it the cookie ends with the browser's session."""
    secret: Annotated[SecretStr, PlainSerializer(SecretStr.get_secret_value)] | None = Field(
        default=None, exclude_if=lambda secret: secret is None
    )
    """Keys the ids in cookies, so that nobody can put a client on a member of their choice. Gateways that serve the
    same clients need the same one."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[SplitStickyFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {} if value == "cookie" else value
