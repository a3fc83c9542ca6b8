"""Hooks: a callable, when it is called, and how."""

from __future__ import annotations

import ast
import difflib
import dis
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from pydantic import ValidationError

from pylae.config.checks.explain import problems_of
from pylae.config.document.nodes import Finding, Step
from pylae.config.document.sources import CallSources, shown
from pylae.config.models.base import split_words
from pylae.config.models.hooks import CallOptions, HookOptions
from pylae.errors import HookError
from pylae.hooks.usable import name_of, refuse_unusable, useless_kinds

if TYPE_CHECKING:
    from pylae.hooks.shapes import (
        MarkedAround,
        MarkedBody,
        MarkedEvents,
        MarkedRequest,
        MarkedResponse,
    )
    from pylae.settings.fields import HookOptionsFields

On = Literal["request", "response", "around", "middleware", "chunks", "events", "authenticate"]
Run = Literal["worker", "coroutine", "loop", "pool"]
Function = Callable[..., Any]
F = TypeVar("F", bound=Function)

ERROR_BODY = 64 * 1024
"""Most bytes of an error's body that a `(response, request)` hook has in memory without the option `body`."""
_MARK = "__pylae_hook__"
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_ARGUMENTS = {
    "request": (1, "(request)"),
    "response": (2, "(request, response)"),
    "around": (2, "(request, call_next)"),
    "chunks": (3, "(request, response, chunks)"),
    "events": (3, "(request, response, events)"),
    "authenticate": (1, "(request)"),
}


@dataclass(frozen=True)
class Hook:
    """A callable in the request path. `source` is its place in the configuration."""

    function: Function
    on: On
    options: CallOptions
    routes: tuple[str, ...] | None
    name: str
    early: bool = False
    source: tuple[Step, ...] = ()
    authenticator: str | None = None
    """Name of the authenticator, if the callable is the function of one."""
    swapped: Function | None = None
    """The hook with its arguments in the usual order, if its function takes `(response, request)`."""

    @property
    def called(self) -> Function:
        """What the engine calls."""
        return self.swapped or self.function

    def call(self, index: int) -> dict[str, Any]:
        """Returns its form in the plan. `index` is its place among the callables of the plan."""
        return {
            "hook": index,
            "name": self.name,
            "on": self.on,
            "run": run_of(self.function, self.on, self.options),
            "malformed": isinstance(self.options, HookOptions) and self.options.malformed,
            **self.options.model_dump(mode="json", include={"timeout", "on_error", "body", "budget"}),
            "error_body": ERROR_BODY if self.swapped and "body" not in self.options.model_fields_set else None,
        }


def make(
    function: Function,
    on: On,
    options: HookOptions,
    routes: tuple[str, ...] | None = None,
    source: tuple[Step, ...] = (),
    name: str | None = None,
) -> Hook:
    """Makes a hook of a function. Raises HookError if it cannot be one."""
    refuse_unusable(function, on, name)
    name = name or name_of(function)
    early = options.stage == "early" or (options.stage is None and on == "middleware" and routes is None)
    swapped = on in ("response", "middleware") and takes_response_first(function)
    if on == "middleware":
        on = "response" if swapped else "request" if takes(function, 1) else "around"
    if on in ("chunks", "events"):
        if not inspect.isasyncgenfunction(called_of(function)):
            raise HookError(f"{name} must be an async generator function: `async def …` with `yield`")
        if said := [option for option in HookOptions.model_fields if option in options.model_fields_set]:
            raise HookError(f"{name} receives the body in pieces, so `{'`, `'.join(said)}` cannot be set for it")
    elif inspect.isasyncgenfunction(called_of(function)):
        raise HookError(f"{name} is an async generator function, but this kind of hook must return a value")
    _refuse_blocking(function, options, name)
    if early and routes is not None:
        raise HookError(f'{name} is early and runs before a route is known; leave out `routes` or `stage="early"`')
    if options.malformed and not (early and on == "response"):
        raise HookError(f'{name} has `malformed`, which works only with `on_response(stage="early")`')
    _refuse_arguments(function, on, name)
    turned = _swapping(function) if swapped else None
    return Hook(function, on, options, routes, name, early, source, swapped=turned)


def make_authenticator(function: Function, options: CallOptions, name: str, source: tuple[Step, ...]) -> Hook:
    """Makes a hook of the function of the authenticator `name`. Raises HookError if it cannot be one."""
    refuse_unusable(function, "authenticate")
    called = name_of(function)
    if inspect.isasyncgenfunction(called_of(function)) or inspect.isgeneratorfunction(called_of(function)):
        raise HookError(f"{called} is a generator function, but an authenticator must return a value")
    _refuse_blocking(function, options, called)
    _refuse_arguments(function, "authenticate", called)
    return Hook(function, "authenticate", options, None, f"authenticator {name} ({called})", False, source, name)


def _refuse_blocking(function: Function, options: CallOptions, name: str) -> None:
    if options.blocking and is_async(function):
        raise HookError(f"{name} is async; `blocking` works only with functions that are not")


def _refuse_arguments(function: Function, on: On, name: str) -> None:
    count, shape = _ARGUMENTS[on]
    if not takes(function, count):
        raise HookError(f"{name} cannot be called as `{name.rpartition('.')[2]}{shape}`")


def _swapping(function: Function) -> Function:
    def call(request: Any, response: Any) -> Any:
        return function(response, request)

    return call


def takes_response_first(function: Function) -> bool:
    """Returns true if a function takes `(response, request)`, by the name of the first of its two parameters.

    False if the second is called `call_next`.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    needed = [one.name for one in parameters if one.default is one.empty and one.kind in _POSITIONAL]
    return len(needed) == 2 and needed[0] == "response" and needed[1] != "call_next"


def is_async(function: Function) -> bool:
    """Returns true if a call returns a coroutine."""
    return any(inspect.iscoroutinefunction(one) for one in (function, called_of(function)))


def called_of(function: Any) -> Any:
    """Returns the function that is finally called, inside partial objects or objects with `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return getattr(type(function), "__call__", function)  # noqa: B004


def run_of(function: Function, on: On, options: CallOptions) -> Run:
    """Returns where a hook runs.

    A coroutine runs on the worker if its code shows that it cannot be suspended.
    """
    if on in ("chunks", "events"):
        return "loop"
    if is_async(function):
        waits = suspends(function) if options.waits is None else options.waits
        return "loop" if waits else "coroutine"
    return "pool" if options.blocking or on == "around" else "worker"


def suspends(function: Any) -> bool:
    """Returns whether a coroutine function may wait for something. True unless its code shows otherwise.

    Awaiting `call_next(…)`, `request.body()` and `request.json()` does not count, because the worker provides them.
    """
    code = getattr(function, "__code__", None)
    if code is None or not inspect.iscoroutinefunction(function):
        return True
    if not any(step.opname in ("SEND", "YIELD_FROM") for step in dis.get_instructions(code)):
        return False
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return True
    found = tree.body[0] if tree.body else None
    if not isinstance(found, ast.AsyncFunctionDef) or found.name != code.co_name:
        return True
    names = [argument.arg for argument in (*found.args.posonlyargs, *found.args.args)]
    if inspect.ismethod(function):
        names = names[1:]
    return not all(_is_harmless(node, names) for node in ast.walk(found))


def _is_harmless(node: ast.AST, names: list[str]) -> bool:
    if isinstance(node, ast.AsyncFor | ast.AsyncWith) or (isinstance(node, ast.comprehension) and node.is_async):
        return False
    if not isinstance(node, ast.Await):
        return True
    called = node.value.func if isinstance(node.value, ast.Call) else None
    if isinstance(called, ast.Name):
        return called.id in names[1:2]
    of_request = isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name)
    return of_request and called.value.id in names[:1] and called.attr in ("body", "json")  # type: ignore[union-attr]


def takes(function: Function, count: int) -> bool:
    """Returns true if it can be called with this many arguments, or if that cannot be determined."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except ValueError:
        return True
    except TypeError:
        return False
    return True


Options = TypeVar("Options", bound=CallOptions)


def options_of(settings: Mapping[str, Any], model: type[Options], further: Sequence[str] = ()) -> Options:
    """Returns the options of a decorator that also accepts the `further` ones. Raises HookError."""
    known = [*model.model_fields, *further]
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.6)
            raise HookError(
                f"unknown option `{name}`; "
                + (f"did you mean `{near[0]}`?" if near else f"there are {', '.join(known)}")
            )
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        problem = problems_of(error, CallSources({}), model)[0]
        what = f"`{problem.path}`: {problem.message}" if problem.path else problem.message
        raise HookError(f"{what}{f' ({problem.hint})' if problem.hint else ''}") from None


def route_names_of(routes: Any) -> tuple[str, ...] | None:
    """Returns the routes of a decorator: one name, `A|B`, or several. Raises HookError."""
    if routes is None:
        return None
    names = list(split_words(routes)) if isinstance(routes, Iterable) else [routes]
    if not all(isinstance(name, str) for name in names):
        raise HookError(f"`routes`: must be names of routes, as a text or a list; found {shown(routes, hidden=False)}")
    return tuple(names)


def lenient(hooks: Iterable[Hook]) -> Iterator[Finding]:
    """Finds early hooks that let requests pass, and authenticators that find no user, when they fail."""
    for hook in hooks:
        if hook.authenticator and hook.options.on_error == "skip":
            message = (
                f"`{hook.authenticator}` finds no user when it fails, so routes that require no user let requests pass"
            )
            yield Finding((*hook.source, "on_error"), message, "leave out `on_error: skip` to answer 500 on failure")
        if hook.early and hook.on in ("request", "around") and hook.options.on_error == "skip":
            message = f"`{hook.name}` runs before routing, and when it fails every request passes"
            yield Finding(hook.source, message, "leave out `on_error: skip` if it refuses requests")


def misannotated(hooks: Iterable[Hook]) -> Iterator[Finding]:
    """Finds hooks that are annotated to return a wrong type."""
    for hook in hooks:
        if hook.on in ("chunks", "events"):
            continue
        kinds = list(useless_kinds(hook.function, authenticates=hook.authenticator is not None))
        if kinds:
            returned = f"{' or '.join(kinds)}, which is not a valid result: the gateway answers 500"
            message = f"`{hook.name}` is annotated to return {returned}"
            hint = "return a Response, such as `Response.json(…)`, to answer, or None to go on"
            if hook.authenticator:
                hint = "return a User, None if nobody is known, or a Response to answer"
            yield Finding(hook.source, message, hint)


@dataclass(frozen=True)
class Mark:
    """Left on a function by a decorator of this module."""

    on: On
    options: HookOptions


def mark_of(function: Any) -> Mark | None:
    """Returns the mark on a function, if it has one."""
    found = getattr(function, _MARK, None)
    return found if isinstance(found, Mark) else None


def _marking(on: On, function: Any, settings: dict[str, Any]) -> Any:
    mark = Mark(on, options_of(settings, HookOptions))

    def put(function: F) -> F:
        setattr(function, _MARK, mark)
        return function

    return put if function is None else put(function)


@overload
def on_request(function: MarkedRequest, /) -> MarkedRequest: ...
@overload
def on_request(**options: Unpack[HookOptionsFields]) -> Callable[[MarkedRequest], MarkedRequest]: ...
def on_request(function: Any = None, **options: Any) -> Any:
    """Marks a function as a request hook, with its options. For methods of plugins, and functions that a configuration
    names.

    The options are those of `HookOptions`. Those in the configuration take precedence. Raises HookError.
    """
    return _marking("request", function, options)


@overload
def on_response(function: MarkedResponse, /) -> MarkedResponse: ...
@overload
def on_response(**options: Unpack[HookOptionsFields]) -> Callable[[MarkedResponse], MarkedResponse]: ...
def on_response(function: Any = None, **options: Any) -> Any:
    """Marks a function as a response hook. See `on_request`."""
    return _marking("response", function, options)


@overload
def on_response_body(function: MarkedBody, /) -> MarkedBody: ...
@overload
def on_response_body() -> Callable[[MarkedBody], MarkedBody]: ...
def on_response_body(function: Any = None, **options: Any) -> Any:
    """Marks an async generator `(request, response, chunks)` as a hook that receives bodies in pieces. It has no
    options.
    """
    return _marking("chunks", function, options)


@overload
def on_response_events(function: MarkedEvents, /) -> MarkedEvents: ...
@overload
def on_response_events() -> Callable[[MarkedEvents], MarkedEvents]: ...
def on_response_events(function: Any = None, **options: Any) -> Any:
    """Marks an async generator `(request, response, events)` as a hook that receives server-sent events. It has no
    options.
    """
    return _marking("events", function, options)


@overload
def middleware(function: MarkedAround, /) -> MarkedAround: ...
@overload
def middleware(**options: Unpack[HookOptionsFields]) -> Callable[[MarkedAround], MarkedAround]: ...
def middleware(function: Any = None, **options: Any) -> Any:
    """Marks `(request)` or `(request, call_next)` as a middleware. See `on_request`."""
    return _marking("middleware", function, options)
