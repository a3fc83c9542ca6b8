"""What all bodies of the admin API have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """Attribute docstrings become the OpenAPI document; an unknown key is an error; values stand in no message."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)
