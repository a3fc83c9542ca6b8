"""A hook: a callable, when it is called, and how."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, overload

from pydantic import ValidationError

from pylae.config.hooks import HookOptions
from pylae.config.nodes import Step
from pylae.errors import HookError

On = Literal["request", "response", "middleware"]
Function = Callable[..., Any]
F = TypeVar("F", bound=Function)

_MARK = "__pylae_hook__"
_ARGUMENTS = {"request": (1, "(request)"), "response": (2, "(request, response)")}


@dataclass(frozen=True)
class Hook:
    """A callable in the request path. `source` is where the configuration has it."""

    function: Function
    on: On
    options: HookOptions
    routes: tuple[str, ...] | None
    name: str
    source: tuple[Step, ...] = ()

    def call(self, index: int) -> dict[str, Any]:
        """The hook as the plan has it; `index` is its place among the callables that go with the plan."""
        return {
            "hook": index,
            "name": self.name,
            "on": self.on,
            "run": "worker",
            **self.options.model_dump(mode="json", include={"timeout", "on_error", "body"}),
            "budget": None,
        }


def make(
    function: Function,
    on: On,
    options: HookOptions,
    routes: tuple[str, ...] | None = None,
    source: tuple[Step, ...] = (),
    name: str | None = None,
) -> Hook:
    """The hook that `function` is. Raises HookError if it cannot be one."""
    name = name or name_of(function)
    if not callable(function):
        raise HookError(f"{name} is not callable")
    if on == "middleware":
        on = "request"
    count, shape = _ARGUMENTS[on]
    if not takes(function, count):
        raise HookError(f"{name} cannot be called as `{name.rpartition('.')[2]}{shape}`")
    return Hook(function, on, options, routes, name, source)


def name_of(function: Any) -> str:
    """A callable's name in logs: module and name."""
    kind = type(function)
    module = getattr(function, "__module__", None) or kind.__module__
    return f"{module}.{getattr(function, '__qualname__', None) or kind.__qualname__}"


def takes(function: Function, count: int) -> bool:
    """Whether it can be called with so many arguments. True where that cannot be told."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except ValueError:
        return True
    except TypeError:
        return False
    return True


def options_of(settings: dict[str, Any]) -> HookOptions:
    """Options as they are given to a decorator. Raises HookError."""
    try:
        return HookOptions(**settings)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        raise HookError(f"{'.'.join(map(str, found['loc']))}: {found['msg']}") from None


@dataclass(frozen=True)
class Mark:
    """What a decorator of this module leaves on a function."""

    on: On
    options: HookOptions


def mark_of(function: Any) -> Mark | None:
    """The mark on a function, if it has one."""
    found = getattr(function, _MARK, None)
    return found if isinstance(found, Mark) else None


def _marking(on: On, function: Any, settings: dict[str, Any]) -> Any:
    mark = Mark(on, options_of(settings))

    def put(function: F) -> F:
        setattr(function, _MARK, mark)
        return function

    return put if function is None else put(function)


@overload
def on_request(function: F) -> F: ...
@overload
def on_request(**options: Any) -> Callable[[F], F]: ...
def on_request(function: Any = None, **options: Any) -> Any:
    """Says how a function is called that a configuration names, or that a method of a plugin is a hook.

    Options are those of `HookOptions`; what the configuration says goes before them. Raises HookError.
    """
    return _marking("request", function, options)


@overload
def on_response(function: F) -> F: ...
@overload
def on_response(**options: Any) -> Callable[[F], F]: ...
def on_response(function: Any = None, **options: Any) -> Any:
    """The same for hooks that see responses."""
    return _marking("response", function, options)


@overload
def middleware(function: F) -> F: ...
@overload
def middleware(**options: Any) -> Callable[[F], F]: ...
def middleware(function: Any = None, **options: Any) -> Any:
    """The same for `(request)` or `(request, call_next)`."""
    return _marking("middleware", function, options)
