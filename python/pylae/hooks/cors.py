"""Hooks that set fields of CORS where the policy `cors` sets them too."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import CodeType, FunctionType
from typing import Any

from pylae.config.document.nodes import Finding
from pylae.config.models.config import Config
from pylae.hooks.hook import Hook, called_of

_FIELD = re.compile(r"access-control-(?:allow-[a-z-]+|expose-headers|max-age)", re.IGNORECASE)
_MOST = 1000
"""Members of a collection that are looked at."""
_DEPTH = 3
"""How deep collections are looked into."""


def cors_twice(hooks: Iterable[Hook], config: Config) -> Iterator[Finding]:
    """Hooks whose code names fields that the policy sets as well, where both see an answer."""
    for hook in hooks:
        if _has_cors(hook, config) and (fields := sorted(set(map(_written, _texts(hook.function))))):
            sent = (
                "the answer has what the hook sets"
                if hook.early
                else '`request["response_headers"]` is sent in its place, what a late hook sets on a response is not'
            )
            message = f"`{hook.name}` names {', '.join(fields)}, which the policy `cors` sets too: {sent}"
            yield Finding(hook.source, message, "let one of them do it: leave out the policy, or that part of the hook")


def _has_cors(hook: Hook, config: Config) -> bool:
    policies = [route.cors if route.cors is not None else config.policies.cors for route in _routes(hook, config)]
    return any((*policies, hook.early and config.policies.cors))


def _routes(hook: Hook, config: Config) -> Iterator[Any]:
    return (route for route in config.routes if hook.routes is None or route.name in hook.routes)


def _written(field: str) -> str:
    return "-".join(word.capitalize() for word in field.split("-"))


def _texts(function: Any) -> Iterator[str]:
    """Names of such fields that the code of a function has: its own, and what its module has that it names."""
    found = inspect.unwrap(called_of(function))
    found = getattr(found, "__func__", found)
    if isinstance(found, FunctionType):
        yield from _of_code(found.__code__, found.__globals__, set())


def _of_code(code: CodeType, names: Mapping[str, Any], seen: set[CodeType]) -> Iterator[str]:
    if code in seen:
        return
    seen.add(code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant, names, seen)
        else:
            yield from _of_value(constant, _DEPTH)
    for value in (names[name] for name in code.co_names if name in names):
        if isinstance(value, FunctionType) and value.__globals__ is names:
            yield from _of_code(value.__code__, names, seen)
        else:
            yield from _of_value(value, _DEPTH)


def _of_value(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        if _FIELD.fullmatch(value):
            yield value
    elif depth and isinstance(value, dict | list | tuple | set | frozenset):
        for each in islice(value, _MOST):
            yield from _of_value(each, depth - 1)
