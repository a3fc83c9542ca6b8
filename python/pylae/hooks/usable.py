"""Refuses callables that look like hooks but are not, with a hint on what was probably meant."""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pylae.config.document.sources import shown
from pylae.engine import Known, Request, Response, User
from pylae.errors import HookError

_DECORATORS = {
    "request": "on_request",
    "response": "on_response",
    "chunks": "on_response_body",
    "events": "on_response_events",
    "middleware": "middleware",
}
_PLUGINS = {
    "pylae.hooks.plugin.Plugin": ("a plugin", "plugins"),
    "pylae.hooks.authenticator.Authenticator": ("an authenticator", "auth.plugins"),
}
"""Classes that configurations use: what they are, and where."""
_ASGI = ["scope", "receive", "send"]
_POLICIES = {"CORSMiddleware": "cors", "GZipMiddleware": "compression", "HTTPSRedirectMiddleware": "redirect"}
"""Policies that replace well-known middleware."""


def refuse_unusable(function: Any, on: str, name: str | None = None) -> None:
    """Raises HookError for what can never be a hook: what is not callable, classes, ASGI middleware.

    `name` is the import path, if a configuration names it.
    """
    if not callable(function):
        if name is not None:
            raise HookError(f"{name} is not callable")
        hint = f"; give names of routes as `@gateway.{_DECORATORS[on]}(routes=…)`" if on in _DECORATORS else ""
        raise HookError(f"{shown(function, hidden=False)} is not callable{hint}")
    name = name or name_of(function)
    if _is_asgi(function):
        kind = function if inspect.isclass(function) else type(function)
        policy = next((_POLICIES[one.__name__] for one in kind.__mro__ if one.__name__ in _POLICIES), None)
        if policy is not None:
            way_out = f"; use the policy `{policy}` instead"
        elif hasattr(kind, "dispatch"):
            way_out = "; use a function like its `dispatch`, without `self`"
        else:
            way_out = ""
        raise HookError(
            f"{name} is ASGI middleware, which is for ASGI applications; a gateway takes a function: "
            f"`async def middleware(request, call_next)`{way_out}"
        )
    if inspect.isclass(function):
        bases = (f"{kind.__module__}.{kind.__qualname__}" for kind in function.__mro__)
        for what, where in (_PLUGINS[base] for base in bases if base in _PLUGINS):
            other = "a function" if on == "authenticate" else "a hook"
            raise HookError(f"{name} is {what}; use it under `{where}`, not as {other}")
        raise HookError(f"{name} is a class; give an instance of it: `{function.__name__}()`")


def name_of(function: Any) -> str:
    """Returns a callable's name for logs: module and name."""
    kind = type(function)
    module = getattr(function, "__module__", None) or kind.__module__
    return f"{module}.{getattr(function, '__qualname__', None) or kind.__qualname__}"


def _is_asgi(function: Any) -> bool:
    """Returns true for an ASGI application, or ASGI middleware that wraps one."""
    names = _parameters(function)
    if inspect.isclass(function):
        called = inspect.getattr_static(function, "__call__", None)
        return names[:1] == ["app"] or (inspect.isfunction(called) and _parameters(called)[1:4] == _ASGI)
    return names[:3] == _ASGI or names == ["app"]


def _parameters(function: Any) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        # Callables in C may have no signature.
        return []


def useless_kinds(function: Any, *, authenticates: bool = False) -> Iterator[str]:
    """Returns the types in a function's return annotation that are not valid results; None if that cannot be
    determined.
    """
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception:
        # An annotation may be any expression, and may raise anything.
        return
    useful = (Response, User, Known) if authenticates else (Response, Request)
    # A hook that annotates the request as a dict may return it.
    given = next((parameter.annotation for parameter in signature.parameters.values()), inspect.Signature.empty)
    for kind in _alternatives(signature.return_annotation):
        if kind != given and _is_useless(get_origin(kind) or kind, useful):
            yield inspect.formatannotation(kind)


def _alternatives(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _alternatives(part)
    else:
        yield annotation


def _is_useless(kind: Any, useful: tuple[type, ...]) -> bool:
    if not isinstance(kind, type) or kind in (inspect.Signature.empty, types.NoneType, Any, object):
        return False
    if getattr(kind, "_is_protocol", False):
        return False
    return not (any(issubclass(one, kind) for one in useful) or issubclass(kind, (*useful, Awaitable)))
