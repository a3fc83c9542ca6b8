"""Validation of requests."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, ModelWrapValidatorHandler, model_validator

from pylae.config.models.base import Positive, Settings, as_json, own_copy, refusal
from pylae.policies.compression import MediaTypes
from pylae.policies.cors import Names
from pylae.units import ByteSize

if TYPE_CHECKING:
    from pylae.settings.fields import JsonBodyFields, ValidationFields

_PARAMETER = re.compile(r"[A-Za-z0-9._~!$'()*+,;:@/?%\[\]-]+")
_JSON = ("application/json", "application/*+json")


def _parameter(text: str) -> str:
    if not _PARAMETER.fullmatch(text):
        raise refusal("must be the name of a query parameter as it is written in a URL")
    return text


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _schema(value: Any) -> Any:
    """Accepts a schema or its JSON text, such as `${file:order.json}` yields."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise refusal(
                "is not JSON", 'write the schema itself, or name its file: "${file:order.schema.json}"'
            ) from None
    if value is not None and not isinstance(value, dict | bool):
        raise refusal("must be a mapping, `true` or `false`")
    as_json(value)
    return own_copy(value)


def _switch(value: Any) -> Any:
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


class JsonBody(Settings):
    """Rules for JSON bodies. They bound the memory and time that one body can cost."""

    max_size: ByteSize = 1024 * 1024
    """Largest body (413). The gateway reads the whole body into memory before it calls the service."""
    max_depth: Annotated[Positive, Field(le=127)] = 64
    """Deepest nesting of arrays and objects (400)."""
    max_values: Positive = 100_000
    """Most values and keys in the whole body (400)."""
    json_schema: Annotated[
        dict[str, Any] | bool | None,
        BeforeValidator(_schema, json_schema_input_type=dict[str, Any] | bool | str | None),
    ] = None
    """JSON Schema (draft 2020-12) that bodies must match (422). References to other documents are not followed."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[JsonBodyFields]) -> None: ...


class Validation(Settings):
    """Checks requests before they reach the service.

    `max_body` alone does not buffer bodies: the gateway counts the bytes as they pass. `json_body` reads each body into
    memory first. It requires a JSON media type, no compression, well-formed JSON, and no duplicate keys in an object.
    `json_body: true` checks only this.

    Example:
        ```yaml
        validation:
          max_body: 2MB
          required_headers: [X-Tenant]
          required_query: [version]
          json_body:
            max_size: 64KB
            max_depth: 16
            max_values: 1000
            json_schema:
              type: object
              required: [name]
              properties: {name: {type: string, maxLength: 100}}
        ```
    """

    main = ("max_body",)

    max_body: ByteSize = 10 * 1024 * 1024
    """Largest request body (413)."""
    content_types: MediaTypes = ()
    """Media types that a body may have (415), such as `application/json` or `text/*`. By default all are allowed, or
    the JSON ones with `json_body`."""
    required_headers: Names = ()
    """Fields that every request must have (400)."""
    required_query: Annotated[
        tuple[Annotated[str, AfterValidator(_parameter)], ...],
        BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
    ] = ()
    """Query parameters that every request must have (400)."""
    json_body: Annotated[
        JsonBody | None,
        BeforeValidator(_switch, json_schema_input_type=JsonBody | bool | None),
    ] = None
    """Require JSON bodies, with limits and an optional schema. `true` takes the defaults."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ValidationFields]) -> None: ...

    @model_validator(mode="wrap")
    @classmethod
    def _json_types(cls, value: Any, made: ModelWrapValidatorHandler[Validation]) -> Validation:
        json_body = value.get("json_body") if isinstance(value, dict) else None
        if json_body is None or json_body is False or value.get("content_types"):
            return made(value)
        whole = made({**value, "content_types": list(_JSON)})
        # The user has not written them.
        whole.model_fields_set.discard("content_types")
        return whole
