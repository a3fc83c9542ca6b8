"""Validates a configuration piece by piece, to bound the memory that its problems take.

A problem takes hundreds of bytes, a wrong value maybe two. So routes and services are validated one by one until there
are enough problems. Of a very large piece, only the first problem of each list is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
"""Receives the errors of the piece at a path, and whether the piece may have more. Returns true to stop the
validation."""

LARGE = 10_000
"""Pieces with more values than this are validated only up to the first problem of each list."""
_FEW = 1000
"""Entries of a mapping in such a piece that are validated first."""


class Known:
    """The pieces of an earlier configuration, for those that are as they were."""

    def __init__(self, raw: Any = None, config: Config | None = None) -> None:
        """`raw` is the document that was validated as `config`."""
        self._routes: dict[int, Route] = {}
        self._services: dict[str, tuple[Any, Service]] = {}
        if config is not None and isinstance(raw, dict):
            # The document keeps the items, so that no others get their `id`.
            self._raw = raw
            self._routes = dict(zip(map(id, raw.get("routes", ())), config.routes, strict=True))
            written = raw.get("services", {})
            self._services = {name: (written[name], service) for name, service in config.services.items()}

    def route(self, raw: Any) -> Route | None:
        """Returns the route that was read from the same object."""
        return self._routes.get(id(raw))

    def service(self, name: str, raw: Any) -> Service | None:
        """Returns the service of this name if it was read from the same values."""
        found = self._services.get(name)
        # Unlike `==`, this tells 1 from true.
        return found[1] if found is not None and repr(found[0]) == repr(raw) else None


@dataclass
class Pieces:
    """The valid parts of a configuration."""

    raw: Mapping[str, Any]
    errors: Errors
    known: Known = field(default_factory=Known)
    rest: Config | None = None
    """Everything but routes and services. Keys with errors are left out if the rest is valid without them."""
    routes: dict[int, Route] = field(default_factory=dict)
    """The valid routes, by their places in the source."""
    services: dict[str, Service] = field(default_factory=dict)
    bad: set[Step] = field(default_factory=set)
    """Top-level keys with errors."""
    whole: bool = True
    """Whether there was no error."""
    _enough: bool = False

    def validate(self) -> None:
        """Validates one piece after the other until there are enough problems."""
        routes, services = self.raw.get("routes"), self.raw.get("services")
        rest = dict(self.raw)
        if isinstance(routes, list):
            del rest["routes"]
        if isinstance(services, dict):
            del rest["services"]
        self._rest(rest)
        said: dict[frozenset[str], set[str]] = {}
        for index, item in enumerate(routes if isinstance(routes, list) else ()):
            if (route := self.known.route(item)) is not None:
                self.routes[index] = route
            elif (route := self._piece(_ROUTE, item, ("routes", index))) is not None:
                self.routes[index] = _lean(route, said)
            elif self._enough:
                return
        for name, item in (services if isinstance(services, dict) else {}).items():
            if (service := self.known.service(name, item)) is not None:
                self.services[name] = service
            elif (found := self._piece(_SERVICES, {name: item}, ("services",))) is not None:
                self.services.update(found)
            elif self._enough:
                return

    def _rest(self, rest: dict[str, Any]) -> None:
        self.rest = self._piece(_CONFIG, rest, ())
        if self.rest is None:
            with suppress(ValidationError):
                self.rest = _valid(_CONFIG, {key: value for key, value in rest.items() if key not in self.bad})

    def _piece(self, kind: _Kind, value: Any, path: tuple[Step, ...]) -> Any:
        """Returns a valid piece, or None."""
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
        """The valid parts as a configuration; None if `rest` is not valid."""
        if self.rest is None:
            return None
        update = {"routes": tuple(self.routes.values()), "services": self.services}
        return self.rest.model_copy(update={key: value for key, value in update.items() if key in self.raw})


def _lean(route: Route, said: dict[frozenset[str], set[str]]) -> Route:
    """Lets routes with the same settings share the set of their names, which takes a third of a route's memory."""
    names = route.model_fields_set
    # Routes are frozen, so nothing is ever added to it.
    object.__setattr__(route, "__pydantic_fields_set__", said.setdefault(frozenset(names), names))
    return route


@dataclass(frozen=True)
class _Kind:
    """A kind of piece, with a thorough and a quick validator."""

    thorough: Callable[[Any], Any]
    quick: Callable[[], Callable[[Any], Any]]


def _kind(adapter: TypeAdapter[Any]) -> _Kind:
    return _Kind(adapter.validate_python, cache(lambda: _quick(adapter.core_schema).validate_python))


def _quick(schema: CoreSchema) -> SchemaValidator:
    # Without `_use_prebuilt=False`, Pydantic would use the existing validators of the models instead of the schema.
    return SchemaValidator(_failing_fast(schema), _use_prebuilt=False)


_CONFIG, _ROUTE = _kind(TypeAdapter(Config)), _kind(TypeAdapter(Route))
_SERVICES = _kind(TypeAdapter(dict[ServiceName, Service]))


def _valid(kind: _Kind, value: Any) -> Any:
    """Validates a value as a piece. Raises ValidationError."""
    if not _is_large(value):
        return kind.thorough(value)
    few = _few(value)
    if few is not value:
        kind.quick()(few)
    return kind.quick()(value)


def _failing_fast(schema: Any) -> Any:
    """Returns a schema of Pydantic in which validation of a list stops at the first wrong item."""
    if isinstance(schema, list):
        return [_failing_fast(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _failing_fast(value) for key, value in schema.items()}
    if changed.get("type") in ("list", "tuple", "set", "frozenset"):
        changed["fail_fast"] = True
    return changed


def _is_large(value: Any) -> bool:
    left, inside = LARGE, [value]
    for one in inside:
        if isinstance(one, dict | list):
            left -= len(one)
            if left < 0:
                return True
            inside.extend(one.values() if isinstance(one, dict) else one)
    return False


def _few(value: Any) -> Any:
    """Returns the value with at most `_FEW` entries per mapping, or the same object if no mapping has more."""
    if isinstance(value, dict):
        items = {key: _few(item) for key, item, _ in zip(value, value.values(), range(_FEW), strict=False)}
        same = len(items) == len(value) and all(items[key] is value[key] for key in items)
        return value if same else items
    if isinstance(value, list):
        found = [_few(item) for item in value]
        return value if all(one is other for one, other in zip(found, value, strict=True)) else found
    return value
