"""Error pages, which replace the gateway's own error bodies."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from pylae.config.models.address import number_as_text
from pylae.config.models.base import refusal

_STATUSES = "[45][0-9][0-9]|[45]xx|default"
_MOST = 64


def _statuses(text: str) -> str:
    if not re.fullmatch(_STATUSES, text):
        raise refusal("must be a status from 400 to 599, `4xx`, `5xx` or `default`", known=("4xx", "5xx", "default"))
    return text


def _file(text: str) -> str:
    if not text or "\0" in text or "\n" in text:
        raise refusal("must be the name of a file")
    return text


def _formats(page: Any) -> Any:
    if isinstance(page, str):
        raise refusal("needs the format of the page", "write {html: {found}} or {json: {found}}")
    return page


def _some(page: dict[PageFormat, str]) -> dict[PageFormat, str]:
    if not page:
        raise refusal("needs at least one page", "e.g. {html: errors/404.html, json: errors/404.json}")
    return page


def _few(pages: dict[str, dict[PageFormat, str]]) -> dict[str, dict[PageFormat, str]]:
    if len(pages) > _MOST:
        raise refusal(f"has more than {_MOST} entries", "use `4xx`, `5xx` or `default` for many statuses at once")
    return pages


PageFormat = Literal["html", "json"]
"""The format of an error page."""
PageFile = Annotated[str, AfterValidator(_file)]
"""Name of the file of an error page, relative to the configuration's folder."""
PageStatus = Annotated[
    str,
    BeforeValidator(number_as_text, json_schema_input_type=str | int),
    AfterValidator(_statuses),
    WithJsonSchema({"type": "string", "pattern": f"^({_STATUSES})$"}),
]
"""The statuses that a page is for: a single one, a family such as `4xx`, or all (`default`)."""
ErrorPages = Annotated[
    dict[PageStatus, Annotated[dict[PageFormat, PageFile], BeforeValidator(_formats), AfterValidator(_some)]],
    AfterValidator(_few),
    Field(json_schema_extra={"additionalProperties": False}),
]
"""Files of error pages by status and format."""
