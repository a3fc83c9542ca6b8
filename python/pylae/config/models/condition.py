"""Conditions on header fields, cookies and query parameters, and expressions in CEL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import Field, StrictStr, model_validator

from pylae.config.models.base import Settings, refusal

if TYPE_CHECKING:
    from pylae.settings.fields import ValueTestFields


MAX_EXPRESSION = 4096
"""Longest expression, in bytes."""

Expression = Annotated[StrictStr, Field(min_length=1, max_length=MAX_EXPRESSION)]
"""An expression. The native side reads it and finds its mistakes."""


class ValueTest(Settings):
    """A condition on a field or parameter: `true` for present, a text for equal, or `{pattern: …}`."""

    short = {"type": ["string", "integer", "boolean"]}

    equals: str | None = None
    """One of its values must equal this text."""
    pattern: str | None = None
    """One of its values must match this regular expression, from its start."""

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
