"""The base of all bodies of the admin API."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Body(BaseModel):
    """Attribute docstrings become the OpenAPI document. Unknown keys are errors. Error messages do not contain
    values.
    """

    # Defaults that are durations are seconds in the document, as in bodies.
    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True, ser_json_timedelta="float"
    )


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    return value


NUMBER = BeforeValidator(_number)
"""Marks a number of a body, behind its bounds. Texts and truth values are none; whole ones may be written as `60.0`."""


def one_text(name: str) -> dict[str, Any]:
    """Returns the JSON schema of bodies that set this field, which is a text, for those that set exactly one."""
    return {"required": [name], "properties": {name: {"type": "string"}}}
