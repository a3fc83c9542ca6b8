"""Pylae, an API gateway: a native data plane that you configure, extend and test in Python."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylae.config.models.route import Route
    from pylae.config.models.service import Service
    from pylae.errors import (
        CircuitBreakerOpenError,
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
    from pylae.gateway import Gateway as APIGateway
    from pylae.hooks import Headers, Plugin, Request, Response
    from pylae.hooks.authorization import AuthorizationMiddleware
    from pylae.monitoring import MetricsCollector
    from pylae.primitives import AuthenticationService, HealthChecker, RateLimiter, SlidingWindowRateLimiter
    from pylae.registry.registry import ServiceRegistry

__all__ = [
    "APIGateway",
    "AuthenticationService",
    "AuthorizationMiddleware",
    "CircuitBreakerOpenError",
    "ConfigError",
    "ConflictError",
    "EngineError",
    "Gateway",
    "HTTPError",
    "Headers",
    "HealthChecker",
    "HookError",
    "MetricsCollector",
    "Plugin",
    "Problem",
    "PylaeError",
    "RateLimiter",
    "RegistryError",
    "Request",
    "Response",
    "Route",
    "Service",
    "ServiceRegistry",
    "SlidingWindowRateLimiter",
    "UnavailableError",
]

_HOMES = {
    "APIGateway": "pylae.gateway",
    "AuthenticationService": "pylae.primitives",
    "AuthorizationMiddleware": "pylae.hooks.authorization",
    "Gateway": "pylae.gateway",
    "Headers": "pylae.hooks",
    "HealthChecker": "pylae.primitives",
    "MetricsCollector": "pylae.monitoring",
    "Plugin": "pylae.hooks",
    "RateLimiter": "pylae.primitives",
    "Request": "pylae.hooks",
    "Response": "pylae.hooks",
    "Route": "pylae.config.models.route",
    "Service": "pylae.config.models.service",
    "ServiceRegistry": "pylae.registry.registry",
    "SlidingWindowRateLimiter": "pylae.primitives",
}
_ALSO = {"APIGateway": "Gateway"}
"""Second names, for programs that use them."""

_PRIMITIVES = ("Cache", "CircuitBreaker", "Decision", "LoadBalancer", "Router", "SlidingWindow", "TokenBucket")
"""Names that used to be here and are now only in `pylae.primitives`."""
_NAMESAKES = ("Cache", "CircuitBreaker", "LoadBalancer")
"""Those of them that are also names of settings."""

if not TYPE_CHECKING:  # Hidden from type checkers, which would otherwise accept every name.

    def __getattr__(name: str) -> object:
        """Imports a public name when it is first used, so that `pylae --help` does not load all models."""
        if name in _PRIMITIVES:
            other = f"; `pylae.settings.{name}` is the settings of a gateway" if name in _NAMESAKES else ""
            # Not an AttributeError, because `from pylae import …` would not show its message.
            raise ImportError(f"it is `from pylae.primitives import {name}`{other}", name=__name__)
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(_HOMES.get(name, "pylae.errors")), _ALSO.get(name, name))
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
