"""Reads the arguments of `add_route` and `add_service`: a model, its fields, or a short form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pylae.config.checks.explain import problems_of
from pylae.config.document.nodes import Step, show_path
from pylae.config.document.sources import Below, CallSources, shown
from pylae.config.models.config import Config
from pylae.config.models.instance import Instance
from pylae.config.models.route import Route
from pylae.config.models.service import CircuitBreaker, Service
from pylae.errors import ConfigError, Problem

Caller = tuple[str, int]
"""File and line of the call."""
Model = TypeVar("Model", Route, Service)

_ROUTE = 'add_route(path="/users", service="…")'
_SERVICE = 'add_service("{}", ["http://127.0.0.1:9001"])'


def route_of(given: object, fields: Mapping[str, Any], caller: Caller) -> Route:
    """The route that `add_route` describes. Raises ConfigError with every problem and the place of the call."""
    if given is None or isinstance(given, Route | Mapping):
        return _model(Route, given, fields, (), caller)
    hint = f"write {_ROUTE}"
    if isinstance(given, str):
        hint = f'write add_route(path={shown(given, hidden=False)}, service="…")'
    elif isinstance(given, Service):
        hint = "a service is added by `add_service(name, …)`"
    elif isinstance(given, Iterable) and not isinstance(given, BaseModel):
        hint = f"one call for each route: {_ROUTE}"
    raise _refusal((), f"must be a Route or its fields; found {shown(given, hidden=False)}", hint, caller)


def service_of(name: str, given: object, fields: Mapping[str, Any], caller: Caller) -> Service:
    """The service that `add_service` describes. Raises ConfigError with every problem and the place of the call."""
    path: tuple[Step, ...] = ("services", name)
    if given is None or isinstance(given, Service | Mapping):
        return _model(Service, given, fields, path, caller)
    listed = _instances(given)
    if listed is None:
        hint = "a route is added by `add_route(…)`" if isinstance(given, Route) else f"write {_SERVICE.format(name)}"
        message = f"must be a Service or the URLs of its instances; found {shown(given, hidden=False)}"
        raise _refusal(path, message, hint, caller)
    if "instances" in fields:
        raise _refusal((*path, "instances"), "the instances were given twice", "give them once", caller)
    return _model(Service, {"instances": listed}, fields, path, caller)


def with_breakers(routes: Iterable[Route], config: Config) -> tuple[Route, ...]:
    """Routes of a program beside a configuration: services that they declare have a circuit breaker.

    It is not added where `services` has the service, or where any route says whether there is one.
    """
    routes = tuple(routes)
    said = {route.service_key for route in (*config.routes, *routes) if route.circuit_breaker is not None}
    elsewhere = {*config.services, *(route.service_key for route in config.routes if route.service_url)}
    return tuple(
        route.model_copy(update={"circuit_breaker": CircuitBreaker()})
        if route.service_url and route.service_key not in said | elsewhere
        else route
        for route in routes
    )


def _instances(given: object) -> list[Any] | None:
    """One instance or several as a list; None if it is neither."""
    if isinstance(given, str | Instance):
        return [given]
    # Models are iterable too, by their fields.
    return list(given) if isinstance(given, Iterable) and not isinstance(given, BaseModel | bytes) else None


def _model(kind: type[Model], given: Any, fields: Mapping[str, Any], path: tuple[Step, ...], caller: Caller) -> Model:
    if isinstance(given, kind):
        if fields:
            message = f"a {kind.__name__} and further fields were given"
            raise _refusal(path, message, f"write them all in {kind.__name__}(…)", caller)
        return given
    if not given and not fields:
        if path:
            raise _refusal(path, "its instances are missing", f"write {_SERVICE.format(path[-1])}", caller)
        raise _refusal(path, "a route is missing", f"write {_ROUTE}", caller)
    try:
        return kind.model_validate({**(given or {}), **fields})
    except ValidationError as error:
        raise ConfigError(problems_of(error, Below(CallSources({(): caller}), path), kind)) from None


def _refusal(path: tuple[Step, ...], message: str, hint: str, caller: Caller) -> ConfigError:
    return ConfigError([Problem(*caller, None, show_path(path), message, hint)])
