"""The kinds of sources, Pylae's own and installed ones, and `Discovery`, which names one in a configuration.

A kind is imported when a configuration names it.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import traceback
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack, cast

from pydantic import GetJsonSchemaHandler, ModelWrapValidatorHandler, ValidationError, create_model, model_validator
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from pylae.config.models.base import Settings, refusal
from pylae.registry.source import Source, SourceSettings

if TYPE_CHECKING:
    from pylae.settings.fields import DiscoveryFields

KINDS = {
    "dns": "pylae.registry.sources.dns:DnsSource",
    "file": "pylae.registry.sources.file:FileSource",
    "heartbeat": "pylae.registry.sources.heartbeat:HeartbeatSource",
    "consul": "pylae.registry.sources.consul:ConsulSource",
    "docker": "pylae.registry.sources.docker:DockerSource",
}
"""Pylae's own kinds: their names in a configuration, and their classes."""

GROUP = "pylae.sources"
"""The entry point group of installed kinds."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def installed() -> dict[str, list[EntryPoint]]:
    """The installed kinds by name. By mistake there may be several of one name."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        if point.name not in KINDS and point not in found.get(point.name, ()):
            found.setdefault(point.name, []).append(point)
    return found


def names() -> list[str]:
    """The names of all kinds."""
    return [*KINDS, *sorted(installed())]


@cache
def kind(name: str) -> type[Source[Any]]:
    """The class of a kind, which this imports. Raises what `refusal` makes if there is none that can be used."""
    if name in KINDS:
        module, _, attribute = KINDS[name].partition(":")
        own: type[Source[Any]] = getattr(importlib.import_module(module), attribute)
        return own
    points = installed().get(name, [])
    if not points:
        raise refusal(f"there is no source of this kind; there are {', '.join(names())}", known=names())
    if len(points) > 1:
        which = " and ".join(sorted(_distribution(point) for point in points))
        raise refusal(f"several distributions have a source of this kind: {which}", "uninstall all but one of them")
    if not _NAME.fullmatch(name) or hasattr(Discovery, name):
        raise refusal(f"{_distribution(points[0])} calls its source by a name that none can have")
    return _loaded(points[0])


def is_loaded(name: str) -> bool:
    """Whether a kind is Pylae's own, or a configuration has named it."""
    return name in KINDS or name in _models


def _loaded(point: EntryPoint) -> type[Source[Any]]:
    whose = _distribution(point)
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        text = traceback.format_exception_only(error)[-1].strip()
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise refusal(f"{whose} cannot be imported: {text}", f"raised at {frame.filename}:{frame.lineno}") from None
    settings = getattr(found, "Settings", None)
    if not (isinstance(found, type) and issubclass(found, Source)):
        raise refusal(f"{whose} has `{point.value}`, which is not a class derived from pylae.registry.Source")
    if not (isinstance(settings, type) and issubclass(settings, SourceSettings)):
        raise refusal(f"`Settings` of `{point.value}` is not a class derived from pylae.registry.SourceSettings")
    return found


def _distribution(point: EntryPoint) -> str:
    return f"the distribution {point.dist.name} {point.dist.version}" if point.dist else f"`{point.value}`"


class Discovery(Settings):
    """Where instances come from: exactly one of these."""

    # What is validated becomes an instance of a subclass, which has the field of its kind alone.
    kind: ClassVar[str]
    """Which kind it names."""
    source: ClassVar[type[Source[Any]]]
    """The class of its source."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[DiscoveryFields]) -> None: ...

    def __new__(cls, /, **fields: Any) -> Self:
        """Makes one of the kind that the keywords name. `__init__` says what is wrong with them."""
        given, wanted = _given(fields), cls
        if cls is Discovery and len(given) == 1:
            with contextlib.suppress(PydanticCustomError):
                wanted = cast("type[Self]", _model(next(iter(given))))
        return super().__new__(wanted)

    @property
    def settings(self) -> SourceSettings:
        """The settings of the source."""
        found: SourceSettings = getattr(self, self.kind)
        return found

    @classmethod
    def known_fields(cls) -> Mapping[str, FieldInfo]:
        """The kinds as fields. Installed ones that nobody has named take anything."""
        if cls is not Discovery:
            return cls.model_fields
        unnamed = FieldInfo(annotation=Any, default=None)
        others = {name: _models[name].model_fields[name] if name in _models else unnamed for name in installed()}
        return {**_all().model_fields, **others}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        if cls is not Discovery:
            return super().__get_pydantic_json_schema__(schema, handler)
        written = handler(_all().__pydantic_core_schema__)
        properties = handler.resolve_ref_schema(written)["properties"]
        for name, (point, *_) in installed().items():
            properties[name] = {"description": f"A source of {_distribution(point)}."}
        return written

    @model_validator(mode="wrap")
    @classmethod
    def _of_kind(cls, value: Any, handler: ModelWrapValidatorHandler[Discovery]) -> Discovery:
        if cls is not Discovery:
            return handler(_given(value) if isinstance(value, Mapping) else value)
        if isinstance(value, Discovery):
            return value
        if not isinstance(value, Mapping):
            return handler(value)
        given = _given(value)
        if len(given) != 1:
            raise refusal(f"needs exactly one of {', '.join(f'`{name}`' for name in names())}")
        (name,) = given
        try:
            model = _model(str(name))
        except PydanticCustomError as error:
            # The key is wrong, not its value.
            wrong = InitErrorDetails(type=error, loc=(name, "[key]"), input=given[name])
            raise ValidationError.from_exception_data(cls.__name__, [wrong]) from None
        return model.model_validate(given)


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


_models: dict[str, type[Discovery]] = {}
"""The models of the kinds that were named."""


def _model(name: str) -> type[Discovery]:
    """`Discovery` with the one field that a kind is."""
    if name not in _models:
        source = kind(name)
        fields: dict[str, Any] = {name: (source.Settings, ...)}
        model = create_model("Discovery", __base__=Discovery, __module__=__name__, **fields)
        model.kind, model.source = name, source
        _models[name] = model
    return _models[name]


@cache
def _all() -> type[Settings]:
    """A model with a field for each of Pylae's own kinds, for schemas and messages."""
    fields: dict[str, Any] = {}
    for name in KINDS:
        settings = kind(name).Settings
        said = (settings.__doc__ or "").partition(".")[0]
        fields[name] = (settings | None, FieldInfo(default=None, description=f"{said}."))
    return create_model("Discovery", __base__=Settings, __doc__=Discovery.__doc__, __module__=__name__, **fields)
