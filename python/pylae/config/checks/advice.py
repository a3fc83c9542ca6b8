"""Hints of error messages: what to write instead, as far as the models tell."""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

from pylae.config.document.nodes import ALIASES, Step
from pylae.config.document.sources import shown

FEW = 12
"""A message names all allowed keys if there are no more than this; otherwise only the nearest one."""
_PLAIN = re.compile(r"[A-Za-z0-9/][\w./-]*(:[\w./-]+)*")
"""Texts that never need quotes in YAML."""


def nearest(value: object, known: list[str]) -> str | None:
    """Returns a hint with the known word that was probably meant, if there is one."""
    if not isinstance(value, str):
        return None
    folded = {word.lower(): word for word in known}
    near = difflib.get_close_matches(value.lower(), folded, 1, 0.6)
    return f"did you mean `{folded[near[0]]}`?" if near else None


def unknown_key(key: str, models: list[type[BaseModel]]) -> tuple[str, str | None]:
    """Returns message and hint for a key that none of these models has."""
    names = [name for model in models for name in fields(model)]
    removed: dict[str, str] = {name: hint for model in models for name, hint in getattr(model, "removed", {}).items()}
    if key in removed:
        return f"`{key}` is not there any more", removed[key]
    if key in names or ALIASES.get(key) in names:
        same = ALIASES.get(key) or next(alias for alias, name in ALIASES.items() if name == key)
        return f"`{key}` and `{same}` are the same setting; give it once", None
    near = nearest(key, [*names, *(alias for alias, name in ALIASES.items() if name in names)])
    if hint := _elsewhere(key, models) or near:
        return f"unknown key `{key}`", hint
    if not names:
        return f"unknown key `{key}`; it has no settings", None
    if len(names) <= FEW:
        return f"unknown key `{key}`; allowed are {', '.join(names)}", None
    return f"unknown key `{key}`", "`pylae schema` lists the keys that are allowed here"


def _elsewhere(key: str, models: list[type[BaseModel]]) -> str | None:
    for model in models:
        for name, info in fields(model).items():
            for kind in _leaves(info.annotation):
                if is_model(kind) and key in fields(kind):
                    return f"`{key}` belongs under `{name}`"
    return None


def instead_of(value: object, path: tuple[Step, ...], root: type[BaseModel], *, hidden: bool) -> str | None:
    """Returns a hint on what to write if something else than the required mapping or list was found."""
    if value is None:
        return None
    if is_model(value):
        return f"create one: `{shown(value, hidden=False).removeprefix('the class ')}(…)`"
    wanted = kinds(path, root)
    key = f"{path[-1]}: " if path and isinstance(path[-1], str) else ""
    text = "…" if hidden else _as_yaml(value)
    if any(get_origin(kind) in (tuple, list) for kind in wanted):
        if isinstance(value, dict):
            return "begin each item with `- `"
        return f"write `{key}[{text}]`" if isinstance(value, str) else None
    if any(get_origin(kind) is dict for kind in wanted):
        return f"write `{key}{{NAME: …}}`"
    model = next((kind for kind in wanted if is_model(kind)), None)
    if model is None:
        return None
    if (place := _place_of(value, model)) is not None:
        return f"write `{key}{{{place}: …}}`"
    main: tuple[str, ...] = getattr(model, "main", ())
    if main and not isinstance(value, dict | list | tuple):
        return "write " + " or ".join(f"`{key}{{{name}: {_filled(model, name, text)}}}`" for name in main)
    names = list(fields(model))
    keys = ", ".join(names) if len(names) <= FEW else f"{', '.join(names[:FEW])}, …"
    return f"write `{key}{{KEY: VALUE}}`; the keys are {keys}"


def _place_of(value: object, model: type[BaseModel]) -> str | None:
    """Returns the field of `model` that takes a model such as `value`."""
    if not isinstance(value, BaseModel):
        return None
    return next((name for name, info in fields(model).items() if _holds(info.annotation, type(value))), None)


def _holds(annotation: Any, kind: type[BaseModel]) -> bool:
    return annotation is kind or any(_holds(part, kind) for part in get_args(annotation))


def _filled(model: type[BaseModel], name: str, text: str) -> str:
    several = any(get_origin(kind) in (tuple, list) for kind in _leaves(fields(model)[name].annotation))
    return f"[{text}]" if several else text


def _as_yaml(value: object) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and len(value) <= 60 else shown(value, hidden=False)
    return json.dumps(value) if isinstance(value, int | float) else "…"


def is_model(kind: Any) -> bool:
    """Returns true if a type is a model."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def fields(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """What may be written in a model: its fields, unless it has others to name (`Settings.known_fields`)."""
    known: Callable[[], Mapping[str, FieldInfo]] | None = getattr(model, "known_fields", None)
    return model.model_fields if known is None else known()


def kinds(path: tuple[Step, ...], root: type[BaseModel]) -> list[Any]:
    """Returns the types that a setting at `path` of the model `root` may have."""
    found: list[Any] = [root]
    for step in path:
        inner: list[Any] = []
        for kind in found:
            if is_model(kind):
                inner += [
                    leaf
                    for name, info in fields(kind).items()
                    if step == name
                    or (isinstance(info.validation_alias, AliasChoices) and step in info.validation_alias.choices)
                    for leaf in _leaves(info.annotation)
                ]
            elif get_origin(kind) in (dict, tuple, list):
                inner += _leaves(get_args(kind)[1 if get_origin(kind) is dict else 0])
        found = inner
    return found


def _leaves(annotation: Any) -> Iterator[Any]:
    """Yields the alternatives of a type, without the Annotated and unions around them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _leaves(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _leaves(part)
    else:
        yield annotation
