"""Python in the request path: what hooks and plugins import."""

from __future__ import annotations

from collections.abc import MutableMapping

from pylae.engine import Headers, HookTimeout, Request, Response, User
from pylae.errors import HookError
from pylae.hooks.hook import middleware, on_request, on_response
from pylae.hooks.plugin import Plugin

__all__ = [
    "Headers",
    "HookError",
    "HookTimeout",
    "Plugin",
    "Request",
    "Response",
    "User",
    "middleware",
    "on_request",
    "on_response",
]

MutableMapping.register(Headers)
