"""Pylae, an API gateway: a native data plane that is configured, extended and tested in Python."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylae.config.models.route import Route
    from pylae.config.models.service import Service
    from pylae.errors import (
        ConfigError,
        ConflictError,
        EngineError,
        HookError,
        HTTPError,
        Problem,
        PylaeError,
        RegistryError,
        UnavailableError,
    )
    from pylae.gateway import Gateway
    from pylae.hooks import Headers, Plugin, Request, Response
    from pylae.primitives import Cache, CircuitBreaker, Decision, LoadBalancer, Router, SlidingWindow, TokenBucket

__all__ = [
    "Cache",
    "CircuitBreaker",
    "ConfigError",
    "ConflictError",
    "Decision",
    "EngineError",
    "Gateway",
    "HTTPError",
    "Headers",
    "HookError",
    "LoadBalancer",
    "Plugin",
    "Problem",
    "PylaeError",
    "RegistryError",
    "Request",
    "Response",
    "Route",
    "Router",
    "Service",
    "SlidingWindow",
    "TokenBucket",
    "UnavailableError",
]

_HOMES = {
    "Cache": "pylae.primitives",
    "CircuitBreaker": "pylae.primitives",
    "Decision": "pylae.primitives",
    "Gateway": "pylae.gateway",
    "Headers": "pylae.hooks",
    "Plugin": "pylae.hooks",
    "Request": "pylae.hooks",
    "Response": "pylae.hooks",
    "LoadBalancer": "pylae.primitives",
    "Route": "pylae.config.models.route",
    "Router": "pylae.primitives",
    "Service": "pylae.config.models.service",
    "SlidingWindow": "pylae.primitives",
    "TokenBucket": "pylae.primitives",
}


def __getattr__(name: str) -> object:
    """Imports a public name when it is asked for, so that `pylae --help` does not wait for the whole model."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(_HOMES.get(name, "pylae.errors")), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
