"""The base of all models of the configuration. They are frozen, and unknown keys are errors."""

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
    """Returns a field's name and its second names, for use as its `validation_alias`."""
    return AliasChoices(field, *(alias for alias, name in ALIASES.items() if name == field))


class Settings(BaseModel):
    """Base class of all settings. Attribute docstrings become the JSON schema, the reference and the completion in
    editors.

    The constructor raises ConfigError with the place of the call if a setting is wrong; `model_validate` raises
    Pydantic's ValidationError.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        # Values may be secrets. `pylae.config.checks.explain` knows which ones and describes the others.
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    short: ClassVar[JsonSchemaValue | None] = None
    """JSON schema of the short form that a validator of the model accepts in place of a mapping."""
    described: ClassVar[dict[str, str]] = {}
    """Descriptions of fields that replace their docstrings, for texts that come from a table."""
    removed: ClassVar[dict[str, str]] = {}
    """Keys of earlier versions, with what to write instead."""
    main: ClassVar[tuple[str, ...]] = ()
    """Fields that a single value was probably meant for, if the model has no short form. The error message names
    them."""

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise ConfigError(problems_of(error, CallSources({(): calling()}), type(self))) from None

    # Pydantic must not call this constructor for nested models: a document is validated as a whole.
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
    """Makes an error for a validator to raise.

    Args:
        message: What is wrong. It must not contain the value, which may be a secret.
        hint: What to do. `{found}` is replaced by the value, if it may be shown.
        known: The allowed words. The error suggests the one nearest to the value.
        secret: Whether the value must not be shown.
    """
    # Pydantic fills the braces of the template from the context. The message may contain braces, so it goes there.
    context = {"message": message, "hint": hint, "known": list(known), "secret": secret}
    return PydanticCustomError("refused", "{message}", context)


T = TypeVar("T")


@dataclass(frozen=True)
class _Switch:
    """Accepts settings, `true` for the defaults and `false` for off. Unlike a union, it adds nothing to the paths of
    errors.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            _Switched(),
            handler(get_args(source)[0]),
            serialization=core_schema.wrap_serializer_function_ser_schema(_serialize_switch),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "boolean"}]}


_SHORT = 64
"""Characters of a short form that is remembered."""
_MOST = 1000
"""As many are remembered."""


class _Switched:
    """Validates such settings. Of those that are written as one text, such as `100/minute`, the models are remembered:
    many routes have the same, and models are frozen.
    """

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def __call__(self, value: Any, settings: Callable[[Any], Any]) -> Any:
        if value is None or value is False:
            return value
        if type(value) is not str or len(value) > _SHORT:
            return settings({} if value is True else value)
        found = self._known.get(value)
        if found is None:
            found = settings(value)
            if len(self._known) < _MOST:
                self._known[value] = found
        return found


def _serialize_switch(value: Any, settings: Callable[[Any], Any]) -> Any:
    return value if value is None or value is False else settings(value)


Switch = Annotated[T | Literal[False] | None, _Switch()]
"""Settings of `T`. `true` means the defaults of `T`, `false` means off, and None means not given."""


def own_copy(value: Any) -> Any:
    """Copies nested mappings and lists, so that a setting with free content does not share them with its document."""
    if isinstance(value, dict):
        return {key: own_copy(item) for key, item in value.items()}
    return [own_copy(item) for item in value] if isinstance(value, list) else value


def as_json(value: Any) -> str:
    """Returns a value as JSON. Raises what `refusal` makes if it has no JSON form."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise refusal("has no JSON form: use mappings, lists, texts, finite numbers, true, false, null") from None


def split_words(value: Any) -> Any:
    """Splits `"A|B"` or `"A"` into a list, for fields that accept one or several words."""
    return [word.strip() for word in value.split("|")] if isinstance(value, str) else value


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise refusal("must be a number")
    return value


Count = Annotated[int, Field(ge=0, le=2**32 - 1), BeforeValidator(_no_truth_value)]
"""A whole number, at least 0."""

Positive = Annotated[int, Field(ge=1, le=2**32 - 1), BeforeValidator(_no_truth_value)]
"""A whole number, at least 1."""

Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(_no_truth_value)]
"""A fraction from 0 to 1."""

Real = Annotated[float, Field(ge=0), BeforeValidator(_no_truth_value)]
"""A number, at least 0."""


def _network(text: str) -> str:
    """Returns a network in CIDR notation. A single address is a network of one."""
    try:
        return str(ipaddress.ip_network(text.strip()))
    except ValueError:
        pass
    try:
        around = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise refusal("is not an address or network", 'write it like "10.0.0.0/8" or "192.0.2.1"') from None
    raise refusal(
        f"has bits set after its prefix length /{around.prefixlen}",
        'write the first address of the network, as in "10.0.0.0/8"',
    )


Network = Annotated[str, AfterValidator(_network)]
"""A network in CIDR notation, or a single address."""
