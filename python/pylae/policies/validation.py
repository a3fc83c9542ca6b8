"""Refuses requests that are not what a route takes."""

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
        raise refusal("must be the name of a parameter as it stands in a URL")
    return text


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _schema(value: Any) -> Any:
    """A schema, or its text, as `${file:order.json}` gives it."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise refusal("is not JSON", 'give the schema itself, or its file: "${file:order.schema.json}"') from None
    if value is not None and not isinstance(value, dict | bool):
        raise refusal("must be a mapping, `true` or `false`")
    as_json(value)
    return own_copy(value)


def _switch(value: Any) -> Any:
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


class JsonBody(Settings):
    """What is asked of a JSON body. Nothing in a body within these bounds costs more than they say."""

    max_size: ByteSize = 1024 * 1024
    """Size of a body (413): it is read into memory before the service sees any of it."""
    max_depth: Annotated[Positive, Field(le=127)] = 64
    """How deep arrays and objects may lie in each other (400)."""
    max_values: Positive = 100_000
    """How many values and keys there may be in all (400)."""
    json_schema: Annotated[
        dict[str, Any] | bool | None,
        BeforeValidator(_schema, json_schema_input_type=dict[str, Any] | bool | str | None),
    ] = None
    """JSON Schema, draft 2020-12, that the body must fit (422). It is checked when the configuration is; references
    outside of it are not followed."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[JsonBodyFields]) -> None: ...


class Validation(Settings):
    """Checks requests before they reach the service.

    `max_body` alone buffers nothing: the bytes are counted as they pass. With `json_body`, bodies are read into memory
    first; they must be of a JSON media type, uncompressed, well-formed, and have no key twice in one object.
    `json_body: true` asks for no more than that.

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
    """Size of a request body (413), counted."""
    content_types: MediaTypes = ()
    """Media types that a body may have (415): `application/json`, `text/*`. All, if none is given; with `json_body` the
    JSON ones."""
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
    """Bodies must be JSON, within bounds, and fit a schema."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ValidationFields]) -> None: ...

    @model_validator(mode="wrap")
    @classmethod
    def _json_types(cls, value: Any, made: ModelWrapValidatorHandler[Validation]) -> Validation:
        json_body = value.get("json_body") if isinstance(value, dict) else None
        if json_body is None or json_body is False or value.get("content_types"):
            return made(value)
        whole = made({**value, "content_types": list(_JSON)})
        # Nobody has written them.
        whole.model_fields_set.discard("content_types")
        return whole
