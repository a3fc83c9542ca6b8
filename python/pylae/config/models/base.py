"""What every model that a person fills in has in common: it is frozen, and an unknown key is an error."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from pylae.config.checks.explain import problems_of
from pylae.config.docstrings import docstrings
from pylae.config.document.nodes import ALIASES
from pylae.config.document.sources import CallSources, calling
from pylae.errors import ConfigError


def also(field: str) -> AliasChoices:
    """A field's own name and its second names, as its `validation_alias`."""
    return AliasChoices(field, *(alias for alias, name in ALIASES.items() if name == field))


class Settings(BaseModel):
    """Settings that a person writes. Attribute docstrings become the JSON schema and the reference page.

    Made in Python, wrong ones raise ConfigError with the place of the call; `model_validate` raises as Pydantic does.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        # Values may be secrets: messages describe them through `pylae.config.checks.explain`, which knows which are.
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    short: ClassVar[JsonSchemaValue | None] = None
    """Schema of the short form that a validator of the model accepts instead of a mapping."""
    described: ClassVar[dict[str, str]] = {}
    """What is to be said about fields in place of their docstrings: texts that come from a table."""
    main: ClassVar[tuple[str, ...]] = ()
    """Fields that people mean who write a single value where the model has no short form: named in the error."""

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise ConfigError(problems_of(error, CallSources({(): calling()}), type(self))) from None

    # Parts of a document are validated as a whole: Pydantic makes them without this, as it does with its own.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def known_fields(cls) -> Mapping[str, FieldInfo]:
        """What may be written: the fields, but for a model that stands for several others."""
        return cls.model_fields

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = handler(schema)
        full = handler.resolve_ref_schema(written)
        fields = full.get("properties", {})
        for name, text in docstrings(cls).items():
            if name in fields:
                fields[name]["description"] = text
        for alias, name in ALIASES.items():
            if name in fields:
                fields[alias] = {**fields[name], "description": f"The same as `{name}`."}
        if cls.short is not None:
            mapping = dict(full)
            full.clear()
            full["anyOf"] = [mapping, cls.short]
        return written


def refusal(
    message: str, hint: str | None = None, known: Iterable[str] = (), *, secret: bool = False
) -> PydanticCustomError:
    """An error for a validator to raise. The message must not repeat the value, which may be a secret.

    `known` are the allowed words, among which the nearest to what was written is looked for. `secret` says that the
    value must not be shown. `{found}` in the hint is replaced by what was written, where that may be shown.
    """
    # Pydantic fills braces in the template from the context, so the text itself goes there.
    context = {"message": message, "hint": hint, "known": list(known), "secret": secret}
    return PydanticCustomError("refused", "{message}", context)


T = TypeVar("T")


@dataclass(frozen=True)
class _Switch:
    """Accepts settings, `true` for the defaults and `false` for off, without the noise of a union in error paths."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            _switched,
            handler(get_args(source)[0]),
            serialization=core_schema.wrap_serializer_function_ser_schema(_serialize_switch),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "boolean"}]}


def _switched(value: Any, settings: Callable[[Any], Any]) -> Any:
    if value is None or value is False:
        return value
    return settings({} if value is True else value)


def _serialize_switch(value: Any, settings: Callable[[Any], Any]) -> Any:
    return value if value is None or value is False else settings(value)


Switch = Annotated[T | Literal[False] | None, _Switch()]
"""Settings of `T`; `true` is `T` with its defaults, `false` is off, and None means that nothing was said."""


def own_copy(value: Any) -> Any:
    """Mappings and lists of a setting that may hold anything, apart from the document that they were written in."""
    if isinstance(value, dict):
        return {key: own_copy(item) for key, item in value.items()}
    return [own_copy(item) for item in value] if isinstance(value, list) else value


def as_json(value: Any) -> str:
    """A value as JSON. Raises what `refusal` makes if JSON cannot say it."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise refusal("must be what JSON can say: mappings of texts, lists, texts, finite numbers") from None


def split_words(value: Any) -> Any:
    """`"A|B"` or `"A"` as a list, for the fields that take one or several words."""
    return [word.strip() for word in value.split("|")] if isinstance(value, str) else value


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise refusal("must be a number")
    return value


Count = Annotated[int, Field(ge=0, le=2**32 - 1), BeforeValidator(_no_truth_value)]
"""A whole number from 0."""

Positive = Annotated[int, Field(ge=1, le=2**32 - 1), BeforeValidator(_no_truth_value)]
"""A whole number from 1."""

Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(_no_truth_value)]
"""A part of a whole, 0 to 1."""

Real = Annotated[float, Field(ge=0), BeforeValidator(_no_truth_value)]
"""A number from 0."""


def _network(text: str) -> str:
    """A network in CIDR form; a single address is a network of one."""
    try:
        return str(ipaddress.ip_network(text.strip()))
    except ValueError:
        pass
    try:
        around = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise refusal("is not an address or network", 'write it like "10.0.0.0/8" or "192.0.2.1"') from None
    raise refusal(
        f"has bits set behind its prefix length /{around.prefixlen}", 'write the first address, as in "10.0.0.0/8"'
    )


Network = Annotated[str, AfterValidator(_network)]
"""A network in CIDR form; a single address is a network of one."""
