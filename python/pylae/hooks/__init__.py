"""Python in the request path: what hooks and plugins import."""

from __future__ import annotations

from collections.abc import MutableMapping

from pylae.engine import Headers, HookTimeout, Request, Response, User
from pylae.errors import HookError, HTTPError
from pylae.hooks.events import Event
from pylae.hooks.hook import middleware, on_request, on_response, on_response_body, on_response_events
from pylae.hooks.plugin import Plugin

__all__ = [
    "Event",
    "HTTPError",
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
    "on_response_body",
    "on_response_events",
]

MutableMapping.register(Headers)
