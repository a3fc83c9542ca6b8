"""Validates a configuration piece by piece, so that what is wrong with it takes no more memory than is told of it.

A problem costs hundreds of bytes where a wrong value may have two. So routes and services are validated one after the
other until there are enough problems, and of a piece that is very large only the first problem of each list is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import CoreSchema, SchemaValidator

from pylae.config.document.nodes import Step
from pylae.config.models.config import Config
from pylae.config.models.route import Route
from pylae.config.models.service import Service, ServiceName

Errors = Callable[[ValidationError, tuple[Step, ...], bool], bool]
"""Takes the errors of the piece at a path, and whether there may be more in it; says whether enough is known."""

LARGE = 10_000
"""Values in a piece that is validated no further than the first problem of each list."""
_FEW = 1000
"""Entries of a mapping that are looked at first in such a piece."""


@dataclass
class Pieces:
    """What is valid in a configuration."""

    raw: Mapping[str, Any]
    errors: Errors
    rest: Config | None = None
    """All but routes and services; without the keys that have errors, if that is possible."""
    routes: dict[int, Route] = field(default_factory=dict)
    """By their places in the source."""
    services: dict[str, Service] = field(default_factory=dict)
    bad: set[Step] = field(default_factory=set)
    """Keys of the configuration that have errors as a whole."""
    whole: bool = True
    """Whether there was no error."""
    _enough: bool = False

    def validate(self) -> None:
        """Looks at one piece after the other, until enough is known."""
        routes, services = self.raw.get("routes"), self.raw.get("services")
        rest = dict(self.raw)
        if isinstance(routes, list):
            del rest["routes"]
        if isinstance(services, dict):
            del rest["services"]
        self._rest(rest)
        for index, item in enumerate(routes if isinstance(routes, list) else ()):
            if (route := self._piece(_ROUTE, item, ("routes", index))) is not None:
                self.routes[index] = route
            elif self._enough:
                return
        for name, item in (services if isinstance(services, dict) else {}).items():
            if (found := self._piece(_SERVICES, {name: item}, ("services",))) is not None:
                self.services.update(found)
            elif self._enough:
                return

    def _rest(self, rest: dict[str, Any]) -> None:
        self.rest = self._piece(_CONFIG, rest, ())
        if self.rest is None:
            with suppress(ValidationError):
                self.rest = _valid(_CONFIG, {key: value for key, value in rest.items() if key not in self.bad})

    def _piece(self, kind: _Kind, value: Any, path: tuple[Step, ...]) -> Any:
        """A valid piece, or None."""
        try:
            return _valid(kind, value)
        except ValidationError as error:
            self.whole = False
            if not path:
                locations = error.errors(include_url=False, include_input=False, include_context=False)
                self.bad = {item["loc"][0] for item in locations if item["loc"]}
            self._enough = self.errors(error, path, _is_large(value))
            return None

    @property
    def config(self) -> Config | None:
        """What is valid, as a configuration; None if the rest is not."""
        if self.rest is None:
            return None
        update = {"routes": tuple(self.routes.values()), "services": self.services}
        return self.rest.model_copy(update={key: value for key, value in update.items() if key in self.raw})


@dataclass(frozen=True)
class _Kind:
    """A kind of piece, validated thoroughly or quickly."""

    thorough: Callable[[Any], Any]
    quick: Callable[[], Callable[[Any], Any]]


def _kind(adapter: TypeAdapter[Any]) -> _Kind:
    return _Kind(adapter.validate_python, cache(lambda: _quick(adapter.core_schema).validate_python))


def _quick(schema: CoreSchema) -> SchemaValidator:
    # Without the argument, the validators that the models have already would be used in place of the schema.
    return SchemaValidator(_failing_fast(schema), _use_prebuilt=False)


_CONFIG, _ROUTE = _kind(TypeAdapter(Config)), _kind(TypeAdapter(Route))
_SERVICES = _kind(TypeAdapter(dict[ServiceName, Service]))


def _valid(kind: _Kind, value: Any) -> Any:
    """A value as the piece that it is. Raises ValidationError."""
    if not _is_large(value):
        return kind.thorough(value)
    few = _few(value)
    if few is not value:
        kind.quick()(few)
    return kind.quick()(value)


def _failing_fast(schema: Any) -> Any:
    """A schema of Pydantic's whose lists are validated up to the first item that is wrong."""
    if isinstance(schema, list):
        return [_failing_fast(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _failing_fast(value) for key, value in schema.items()}
    if changed.get("type") in ("list", "tuple", "set", "frozenset"):
        changed["fail_fast"] = True
    return changed


def _is_large(value: Any) -> bool:
    left = LARGE
    for _ in _values(value):
        left -= 1
        if left < 0:
            return True
    return False


def _values(value: Any) -> Iterator[Any]:
    yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(item, dict | list):
            yield from _values(item)
        else:
            yield item


def _few(value: Any) -> Any:
    """The same without what large mappings have in excess; the very same if there is none."""
    if isinstance(value, dict):
        items = {key: _few(item) for key, item, _ in zip(value, value.values(), range(_FEW), strict=False)}
        same = len(items) == len(value) and all(items[key] is value[key] for key in items)
        return value if same else items
    if isinstance(value, list):
        found = [_few(item) for item in value]
        return value if all(one is other for one, other in zip(found, value, strict=True)) else found
    return value
