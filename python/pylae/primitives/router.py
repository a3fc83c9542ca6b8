"""Router: finds the route of a request, in a time that does not depend on the number of routes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pylae.config.models.config import Config
from pylae.config.models.route import Route
from pylae.config.plan import compile_plan
from pylae.engine import NativeRouter
from pylae.primitives.given import Fields, compiling, pairs, settings_of

if TYPE_CHECKING:
    from pylae.settings.fields import RouteFields

__all__ = ["Found", "Router"]


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a router. It is true if a route matches the request."""

    name: str | None
    """Name of the route; None if no route matches."""
    route: Route | None
    """The route."""
    params: Mapping[str, str]
    """Values of the path's parameters, or of a pattern's groups by name or number, percent-decoded."""
    allow: tuple[str, ...]
    """The allowed methods, if only the method does not match."""

    def __bool__(self) -> bool:
        return self.route is not None


class Router:
    """Finds routes as the gateway does: the most specific route that matches the request.

    A route is a `Route`, or a mapping with its clauses: `name`, `path`, `prefix` or `pattern`, `method`, `host`,
    `headers`, `query`, `priority`. Raises ConfigError with every problem.

        router = Router([{"name": "user", "path": "/users/{id:int}", "method": "GET"}])
        router.find("GET", "/users/7").params["id"]
    """

    def __init__(self, routes: Iterable[Route | RouteFields]) -> None:
        given = [
            route if isinstance(route, Route) or "split" in route else {"service": "none", **route} for route in routes
        ]
        config = settings_of(Config, {"routes": given})
        compiled = compile_plan(config)["routes"]
        self._routes = tuple(zip((route["name"] for route in compiled), config.routes, strict=True))
        with compiling():
            self._native = NativeRouter(json.dumps(compiled))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Routes that never match, and the routes that take their requests."""
        return tuple(f"{path}: {message}" for path, message in self._native.warnings())

    def find(self, method: str, target: str, headers: Fields = ()) -> Found:
        """Returns the route of a request.

        `target` is a path with or without query, or a full URL. For a path, the host is that of `headers`. Raises
        ValueError for a request that the gateway refuses with 400.
        """
        index, params, allow = self._native.find(method, target, pairs(headers))
        name, route = (None, None) if index is None else self._routes[index]
        decoded = {key: unquote(value) for key, value in params}
        return Found(name, route, decoded, tuple(allow.split(", ")) if allow else ())
