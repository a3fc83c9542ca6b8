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

__all__ = [
    "ConfigError",
    "ConflictError",
    "EngineError",
    "Gateway",
    "HTTPError",
    "Headers",
    "HookError",
    "Plugin",
    "Problem",
    "PylaeError",
    "RegistryError",
    "Request",
    "Response",
    "Route",
    "Service",
    "UnavailableError",
]

_HOMES = {
    "Gateway": "pylae.gateway",
    "Headers": "pylae.hooks",
    "Plugin": "pylae.hooks",
    "Request": "pylae.hooks",
    "Response": "pylae.hooks",
    "Route": "pylae.config.models.route",
    "Service": "pylae.config.models.service",
}

_PRIMITIVES = ("Cache", "CircuitBreaker", "Decision", "LoadBalancer", "Router", "SlidingWindow", "TokenBucket")
"""What was here before it was in `pylae.primitives` alone."""
_NAMESAKES = ("Cache", "CircuitBreaker", "LoadBalancer")
"""Those of them that settings have the name of."""

if not TYPE_CHECKING:  # A checker would take every name to be there.

    def __getattr__(name: str) -> object:
        """Imports a public name when it is asked for, so that `pylae --help` does not wait for the whole model."""
        if name in _PRIMITIVES:
            other = f"; `pylae.settings.{name}` is the settings of a gateway" if name in _NAMESAKES else ""
            # No AttributeError: `from pylae import …` would not show what it says.
            raise ImportError(f"it is `from pylae.primitives import {name}`{other}", name=__name__)
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(_HOMES.get(name, "pylae.errors")), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
