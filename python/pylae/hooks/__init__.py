"""Python in the request path: what hooks and plugins import."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from pylae.engine import Certificate, Headers, HookTimeout, QueryParams, Request, Response, Url, User
from pylae.errors import HookError, HTTPError
from pylae.hooks.authenticator import Authenticator
from pylae.hooks.events import Event
from pylae.hooks.hook import middleware, on_request, on_response, on_response_body, on_response_events
from pylae.hooks.plugin import Plugin
from pylae.hooks.shapes import (
    AroundHook,
    BlockingAroundHook,
    BlockingCallNext,
    BodyHook,
    CallNext,
    EventHook,
    IdentityFunction,
    Middleware,
    RequestHook,
    ResponseHook,
    TransformHook,
)

__all__ = [
    "AroundHook",
    "Authenticator",
    "BlockingAroundHook",
    "BlockingCallNext",
    "BodyHook",
    "CallNext",
    "Certificate",
    "Event",
    "EventHook",
    "HTTPError",
    "Headers",
    "HookError",
    "HookTimeout",
    "IdentityFunction",
    "Middleware",
    "Plugin",
    "QueryParams",
    "Request",
    "RequestHook",
    "Response",
    "ResponseHook",
    "TransformHook",
    "Url",
    "User",
    "middleware",
    "on_request",
    "on_response",
    "on_response_body",
    "on_response_events",
]

MutableMapping.register(Headers)
Mapping.register(QueryParams)
