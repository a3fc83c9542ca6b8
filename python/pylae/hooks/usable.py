"""What cannot be a hook although it looks like one: said when it is given, with what people mean by it."""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pylae.config.document.sources import shown
from pylae.engine import Request, Response, User
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
"""Policies that do what well-known middleware does."""


def refuse_unusable(function: Any, on: str, name: str | None = None) -> None:
    """Raises HookError for what can never be a hook: no callable, a class, ASGI middleware.

    `name` is the import path by which a configuration has it.
    """
    if not callable(function):
        if name is not None:
            raise HookError(f"{name} is not callable")
        hint = f"; names of routes are given as `@gateway.{_DECORATORS[on]}(routes=…)`" if on in _DECORATORS else ""
        raise HookError(f"{shown(function, hidden=False)} is not callable{hint}")
    name = name or name_of(function)
    if _is_asgi(function):
        kind = function if inspect.isclass(function) else type(function)
        policy = next((_POLICIES[one.__name__] for one in kind.__mro__ if one.__name__ in _POLICIES), None)
        if policy is not None:
            way_out = f"; the policy `{policy}` does what it does"
        elif hasattr(kind, "dispatch"):
            way_out = "; a function like its `dispatch`, without `self`, will do"
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
            raise HookError(f"{name} is {what}; it is used under `{where}`, not as {other}")
        raise HookError(f"{name} is a class; give an object of it: `{function.__name__}()`")


def name_of(function: Any) -> str:
    """A callable's name in logs: module and name."""
    kind = type(function)
    module = getattr(function, "__module__", None) or kind.__module__
    return f"{module}.{getattr(function, '__qualname__', None) or kind.__qualname__}"


def _is_asgi(function: Any) -> bool:
    """Whether it is an ASGI application, or makes one of another application."""
    names = _parameters(function)
    if inspect.isclass(function):
        called = inspect.getattr_static(function, "__call__", None)
        return names[:1] == ["app"] or (inspect.isfunction(called) and _parameters(called)[1:4] == _ASGI)
    return names[:3] == _ASGI or names == ["app"]


def _parameters(function: Any) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        # Of callables in C it may not be known.
        return []


def useless_kinds(function: Any, *, authenticates: bool = False) -> Iterator[str]:
    """Types that it is annotated to return and that are no answer, or no user. None where that cannot be told."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception:
        # An annotation is any expression, and may fail in any way.
        return
    useful = (Response, User) if authenticates else (Response, Request)
    # Who takes the request for a dict may return it.
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
