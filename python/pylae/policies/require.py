"""Requirements on claims and requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import BeforeValidator, Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from pylae.config.models.base import Settings, refusal
from pylae.config.models.condition import Expression

if TYPE_CHECKING:
    from pylae.settings.fields import ClaimTestFields, RequireFields

MOST_VALUES = 256
"""The most values that one claim may be compared with."""


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str | int | float) else value


Values = Annotated[
    tuple[StrictStr | StrictBool | StrictInt | StrictFloat, ...],
    BeforeValidator(_one_or_many, json_schema_input_type=str | bool | int | float | list[str | bool | int | float]),
    Field(max_length=MOST_VALUES),
]


class ClaimTest(Settings):
    """What a claim must be. A value, or a list of values, is short for `any`.

    If the claim is a list, its members count one by one, and so do the words of the claim `scope`. Texts, numbers and
    `true` are different: "1" is not 1.
    """

    short = {"type": ["string", "number", "boolean", "array"]}

    any: Values = ()
    """The claim must have one of these values."""
    all: Values = ()
    """The claim must have all of these values."""
    present: bool | None = None
    """Whether the claim must be there, with any value. A claim that is `null` is not there."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ClaimTestFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"any": value} if isinstance(value, str | int | float | list | tuple) else value

    @model_validator(mode="after")
    def _some(self) -> ClaimTest:
        if not self.any and not self.all and self.present is None:
            raise refusal("needs a value, a list of values, `all` or `present`", "e.g. {present: true}")
        return self


class Require(Settings):
    """Refuses requests that do not meet a condition: 403, or 401 if `claims` need a user and there is none.

    All `claims` must be as they say, and the `expression` must be true. A condition that cannot be told for a request,
    because a claim is absent or a header field was sent twice, refuses it. `pylae explain` says which part failed; the
    client is not told.

    Example:
        ```yaml
        require:
          claims:
            tenant: [blue, green]
            email_verified: true
            realm_access.roles: {all: [staff, orders]}
          expression: request.method == 'GET' || user.claims.level >= 3
        ```
    """

    main = ("claims", "expression")

    claims: dict[Annotated[str, Field(min_length=1, max_length=256)], ClaimTest] = {}
    """What the user's claims must be, by name. `a.b` is `b` inside `a`, unless a claim has that whole name."""
    expression: Expression | None = None
    """A condition in CEL, e.g. `user.claims.level >= 3`. The [guide](../guide/conditions.md) lists what it may use."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[RequireFields]) -> None: ...

    @model_validator(mode="after")
    def _some(self) -> Require:
        if not self.claims and self.expression is None:
            raise refusal("needs `claims` or an `expression`", "`require: false` switches it off")
        return self
