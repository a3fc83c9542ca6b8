"""The base of all bodies of the admin API."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """Attribute docstrings become the OpenAPI document. Unknown keys are errors. Error messages do not contain
    values.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)
