"""Pylae, an API gateway: a native data plane that is configured, extended and tested in Python."""

from pylae.config.route import Route
from pylae.config.service import Service
from pylae.errors import ConfigError, EngineError, HookError, Problem, PylaeError
from pylae.gateway import Gateway

__all__ = [
    "ConfigError",
    "EngineError",
    "Gateway",
    "HookError",
    "Problem",
    "PylaeError",
    "Route",
    "Service",
]
