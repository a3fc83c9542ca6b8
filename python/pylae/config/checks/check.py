"""Validates a configuration and says all that is wrong with it: where, what is allowed, and what is near."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from pylae.config.checks.advice import instead_of, is_model, kinds, nearest, unknown_key
from pylae.config.checks.crosscheck import View, authentication, cross_check
from pylae.config.checks.pieces import LARGE, Pieces
from pylae.config.document.load import MAX_PROBLEMS, Document
from pylae.config.document.nodes import Finding, Step, show_path
from pylae.config.document.sources import DocumentSources, Place, Sources, shown
from pylae.config.models.config import Config
from pylae.errors import ConfigError, Problem

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
_TEXTS = {"string_type": "put quotes around it"}
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


def parse_document(document: Document) -> Config:
    """The configuration in a document. Raises ConfigError with every problem, of shape and of sense.

    Of more than `MAX_PROBLEMS` that many are told.
    """
    sources = DocumentSources(document)
    problems: list[Problem] = []

    def errors(error: ValidationError, path: tuple[Step, ...], more: bool) -> bool:
        problems.extend(problems_of(error, sources, at=path))
        if more:
            place = sources.locate(path)
            text = f"is of more than {LARGE:,} values: only the first problem of each list in it is told"
            problems.append(_problem(place, show_path(place.path) or "the configuration", text, None))
        return len(problems) > MAX_PROBLEMS

    pieces = Pieces(document.root.plain(), errors)
    pieces.validate()
    if (view := _view(pieces)) is not None:
        findings = chain(cross_check(view, sources), authentication(view))
        left = max(0, MAX_PROBLEMS + 1 - len(problems))
        problems += [_finding(finding, sources) for finding in islice(findings, left)]
    if problems or view is None:
        raise ConfigError(_told(problems), document.files)
    return view.config


def _told(problems: Iterable[Problem]) -> list[Problem]:
    """As many as anybody looks at."""
    found = in_order(problems)
    if len(found) <= MAX_PROBLEMS:
        return found
    more = Problem(found[0].file, None, None, "", f"there are more problems than these {MAX_PROBLEMS}")
    return [*found[:MAX_PROBLEMS], more]


def check_config(config: Config, sources: Sources, more: Iterable[Finding] = ()) -> None:
    """Checks the sense of a configuration that was built in Python. Raises ConfigError, with `more` among its problems.

    Whether a user can be authenticated is not asked here: see `Gateway.start`.
    """
    findings = (*more, *cross_check(View.whole_of(config), sources))
    problems = [_finding(finding, sources) for finding in findings]
    if problems:
        raise ConfigError(in_order(problems))


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Problems in the order of the source, each once."""
    return sorted(
        dict.fromkeys(problems), key=lambda problem: (problem.file or "", problem.line or 0, problem.column or 0)
    )


def _finding(finding: Finding, sources: Sources) -> Problem:
    place = sources.locate(finding.path)
    return _problem(place, show_path(place.path), finding.message, finding.hint)


def _problem(place: Place, path: str, message: str, hint: str | None) -> Problem:
    return Problem(place.file, place.line, place.column, path, message, hint)


def _view(pieces: Pieces) -> View | None:
    """What is valid, to be cross-checked in the same run as the rest is complained about."""
    config = pieces.config
    if config is None:
        return None
    routes, services = pieces.raw.get("routes", ()), pieces.raw.get("services", {})
    known = None if "services" in pieces.bad else frozenset(services)
    declared = {
        str(route.get("service", route.get("service_name")))
        for route in (routes if "routes" not in pieces.bad and not pieces.whole else ())
        if isinstance(route, dict) and "service_url" in route
    }
    return View(config, tuple(pieces.routes), known, frozenset(declared), "auth" not in pieces.bad)


def problems_of(
    error: ValidationError, sources: Sources, root: type[BaseModel] = Config, at: tuple[Step, ...] = ()
) -> list[Problem]:
    """The problems in a Pydantic error about what is at a path of a model `root`, but no more than `MAX_PROBLEMS`."""
    items: list[dict[str, Any]] = [
        {**item, "loc": (*at, *item["loc"])} for item in error.errors(include_url=False)[: MAX_PROBLEMS + 1]
    ]
    locations = {item["loc"] for item in items}
    problems = []
    for item in items:
        loc = item["loc"]
        # Pydantic counts only valid items, so a list whose items are bad is also "too short".
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
        return _problem(place, show_path((*place.path, loc[-1])), f"`{loc[-1]}` is required and missing", None)
    is_key = loc[-1:] == ("[key]",)
    path = loc[:-1] if is_key else loc
    place = sources.locate(path, key=is_key)
    value = path[-1] if is_key else item.get("input")
    hidden = (place.node.interpolated if place.node and not is_key else False) or _is_secret(path, root)
    hidden = hidden or context.get("secret", False)
    message, hint, known = _describe(kind, context, item["msg"])
    near = nearest(value, known) if not hidden else None
    if kind in _SHAPES:
        hint = instead_of(value, path, root, hidden=hidden) or hint
    if hint and isinstance(value, str | int):
        hint = hint.replace("{found}", "…" if hidden else shown(value, hidden=False).strip('"'))
    # A whole mapping was found where a part of it is wrong: saying "found a mapping" would only puzzle.
    if not isinstance(value, dict | BaseModel) or kind in _TYPES:
        message = f"{message}; found {shown(value, hidden=hidden)}"
    return _problem(place, show_path(place.path), message, near or hint)


def _describe(kind: str, context: dict[str, Any], text: str) -> tuple[str, str | None, list[str]]:
    """Message, hint and allowed words for an error type."""
    if kind == "refused":
        return context["message"], context["hint"], context["known"]
    if kind == "value_error":
        message, _, hint = str(context["error"]).partition("; ")
        return message, hint or None, []
    if kind in ("literal_error", "enum"):
        words = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"must be {'one of ' if len(words) > 1 else ''}{', '.join(words)}", None, words
    if kind in _TYPES:
        return _TYPES[kind], _TEXTS.get(kind), []
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context), None, []
    return text[:1].lower() + text[1:], None, []


def _unknown_key(loc: tuple[Step, ...], sources: Sources, root: type[BaseModel]) -> Problem:
    place = sources.locate(loc, key=True)
    models = [kind for kind in kinds(loc[:-1], root) if is_model(kind)]
    return _problem(place, show_path(place.path), *unknown_key(str(loc[-1]), models))


def _is_secret(path: tuple[Step, ...], root: type[BaseModel]) -> bool:
    return any(kind in (SecretStr, SecretBytes) for kind in kinds(path, root))
