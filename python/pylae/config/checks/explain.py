"""Turns errors of Pydantic into problems with place, message and hint.

The base of all models uses it (`pylae.config.models.base`), so it imports no model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from pylae.config.checks.advice import instead_of, is_model, kinds, nearest, unknown_key
from pylae.config.document.nodes import Step, show_path
from pylae.config.document.reader import MAX_PROBLEMS
from pylae.config.document.sources import Sources, shown
from pylae.errors import Problem

_TYPES = {
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "string_type": "must be a text",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}
_SHAPES = ("model_type", "model_attributes_type", "dict_type", "list_type", "tuple_type")
_BOUNDS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "too_short": "must have at least {min_length} of them",
    "too_long": "must have at most {max_length} of them",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must have the form {pattern}",
}


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sorts problems by their place and removes duplicates."""
    return sorted(
        dict.fromkeys(problems), key=lambda problem: (problem.file or "", problem.line or 0, problem.column or 0)
    )


def problems_of(
    error: ValidationError, sources: Sources, root: type[BaseModel], at: tuple[Step, ...] = ()
) -> list[Problem]:
    """Returns the problems in an error of Pydantic, at most `MAX_PROBLEMS`.

    Args:
        error: The error.
        sources: Where each setting was written.
        root: The model that `at` is a path of.
        at: The path of what was validated.
    """
    items: list[dict[str, Any]] = [
        {**item, "loc": (*at, *item["loc"])} for item in error.errors(include_url=False)[: MAX_PROBLEMS + 1]
    ]
    locations = {item["loc"] for item in items}
    problems = []
    for item in items:
        loc = item["loc"]
        # Pydantic counts only valid items, so it also reports a list with bad items as too short.
        if item["type"] == "too_short" and any(
            len(other) > len(loc) and other[: len(loc)] == loc for other in locations
        ):
            continue
        problems.append(_explain(item, loc, sources, root))
    return in_order(problems)


def _explain(item: dict[str, Any], loc: tuple[Step, ...], sources: Sources, root: type[BaseModel]) -> Problem:
    kind, context = item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(loc, sources, root)
    if kind == "missing":
        place = sources.locate(loc[:-1])
        return place.problem(f"`{loc[-1]}` is required and missing", path=show_path((*place.path, loc[-1])))
    is_key = loc[-1:] == ("[key]",)
    path = loc[:-1] if is_key else loc
    place = sources.locate(path, key=is_key)
    value = path[-1] if is_key else item.get("input")
    hidden = (place.node.interpolated if place.node and not is_key else False) or _is_secret(path, root)
    hidden = hidden or context.get("secret", False)
    message, hint, known = _describe(kind, context, item["msg"])
    near = nearest(value, known) if not hidden else None
    if kind == "string_type":
        hint = _instead_of_text(value)
    if kind in _SHAPES:
        hint = instead_of(value, path, root, hidden=hidden)
    if hint and isinstance(value, str | int):
        hint = hint.replace("{found}", "…" if hidden else shown(value, hidden=False).strip('"'))
    # If a mapping is right but a part of it is wrong, "found a mapping" would only confuse.
    if not isinstance(value, dict | BaseModel) or kind in _TYPES:
        message = f"{message}; found {shown(value, hidden=hidden)}"
    return place.problem(message, near or hint)


def _describe(kind: str, context: dict[str, Any], text: str) -> tuple[str, str | None, list[str]]:
    """Returns message, hint and allowed words for a type of error."""
    if kind == "refused":
        return context["message"], context["hint"], context["known"]
    if kind == "value_error":
        message, _, hint = str(context["error"]).partition("; ")
        return message, hint or None, []
    if kind in ("literal_error", "enum"):
        words = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"must be {'one of ' if len(words) > 1 else ''}{', '.join(words)}", None, words
    if kind in _TYPES:
        return _TYPES[kind], None, []
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context), None, []
    return text[:1].lower() + text[1:], None, []


def _instead_of_text(value: object) -> str | None:
    if isinstance(value, BaseModel):
        return f"a {type(value).__name__} is added to the gateway; write its name here"
    return "put quotes around it" if isinstance(value, int | float | list | dict) else None


def _unknown_key(loc: tuple[Step, ...], sources: Sources, root: type[BaseModel]) -> Problem:
    place = sources.locate(loc, key=True)
    models = [kind for kind in kinds(loc[:-1], root) if is_model(kind)]
    return place.problem(*unknown_key(str(loc[-1]), models))


def _is_secret(path: tuple[Step, ...], root: type[BaseModel]) -> bool:
    return any(kind in (SecretStr, SecretBytes) for kind in kinds(path, root))
