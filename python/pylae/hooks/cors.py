"""Finds hooks that set the same CORS fields as the policy `cors`."""

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
"""Most members of a collection to look at."""
_DEPTH = 3
"""Deepest nesting of collections to look into."""


def cors_twice(hooks: Iterable[Hook], config: Config) -> Iterator[Finding]:
    """Finds hooks whose code names fields that the policy `cors` sets on the same responses."""
    for hook in hooks:
        if _has_cors(hook, config) and (fields := sorted(set(map(_written, _texts(hook.function))))):
            sent = (
                "the response has the values of the hook"
                if hook.early
                else '`request["response_headers"]` overrides the policy; `response.headers` of a late hook does not'
            )
            message = f"`{hook.name}` names {', '.join(fields)}, which the policy `cors` sets too: {sent}"
            yield Finding(hook.source, message, "use only one of them: remove the policy, or this part of the hook")


def _has_cors(hook: Hook, config: Config) -> bool:
    policies = [route.cors if route.cors is not None else config.policies.cors for route in _routes(hook, config)]
    return any((*policies, hook.early and config.policies.cors))


def _routes(hook: Hook, config: Config) -> Iterator[Any]:
    return (route for route in config.routes if hook.routes is None or route.name in hook.routes)


def _written(field: str) -> str:
    return "-".join(word.capitalize() for word in field.split("-"))


def _texts(function: Any) -> Iterator[str]:
    """Returns the names of such fields in the code of a function, and in the values of its module that it uses."""
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
