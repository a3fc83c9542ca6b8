"""Fixed responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import AfterValidator, Field, ModelWrapValidatorHandler, model_validator

from pylae.config.models.base import Settings, as_json
from pylae.policies.cors import field_name
from pylae.policies.security_headers import FieldText

if TYPE_CHECKING:
    from pylae.settings.fields import StaticResponseFields


class StaticResponse(Settings):
    """Answers every request with the same response. A text is short for `body`. The route needs no service.

    Example:
        ```yaml
        routes:
          - path: /robots.txt
            auth_required: false
            static_response: "User-agent: *\\nDisallow: /\\n"
          - prefix: /old
            auth_required: false
            static_response: {status: 410, body: {error: "this API has ended"}, headers: {Cache-Control: max-age=60}}
        ```
    """

    short = {"type": "string"}

    status: Annotated[int, Field(ge=200, le=599)] = 200
    """Status code."""
    content_type: FieldText | None = None
    """`Content-Type` of the response. The default is `text/plain; charset=utf-8` for a text and `application/json` for
    a mapping or list."""
    headers: dict[Annotated[str, AfterValidator(field_name)], FieldText] = {}
    """Further response fields."""
    body: Annotated[str, Field(json_schema_extra={"type": ["string", "object", "array"]})] = ""
    """A text, or a mapping or list to send as JSON. `"${file:page.html}"` reads the body from a file."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[StaticResponseFields]) -> None: ...

    @model_validator(mode="wrap")
    @classmethod
    def _short(cls, value: Any, made: ModelWrapValidatorHandler[StaticResponse]) -> StaticResponse:
        if isinstance(value, str):
            value = {"body": value}
        if not isinstance(value, dict) or not value.get("body"):
            return made(value)
        body = value["body"]
        kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
        text = as_json(body) if isinstance(body, dict | list) else body
        whole = made({"content_type": kind, **value, "body": text})
        if "content_type" not in value and isinstance(body, str):
            # The user has not written it, and the text alone gives it again.
            whole.model_fields_set.discard("content_type")
        return whole
