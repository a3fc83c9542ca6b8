"""Writes docs/reference/<policy>.md, one page per policy, from the docstrings of its model.

python docs/generate.py [FOLDER]
"""

from __future__ import annotations

import inspect
import json
import sys
import textwrap
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pylae.config.docstrings import docstrings
from pylae.policies import PolicySet
from pylae.units import ByteSize, size

WIDTH = 120
REFERENCE = Path(__file__).parent / "reference"
_SIZE = [mark for mark in ByteSize.__metadata__ if isinstance(mark, BeforeValidator)]
NOTE = "<!-- Written by docs/generate.py from the docstrings in python/pylae/policies. Edit those. -->\n"


def pages() -> dict[str, str]:
    """The text of every page by file name."""
    written = {f"{name}.md": page(name) for name in PolicySet.model_fields}
    rows = [f"| [`{name}`]({name}.md) | {docstrings(PolicySet)[name]} |" for name in PolicySet.model_fields]
    table = "\n".join(["| policy | what it is for |", "|---|---|", *rows])
    written["README.md"] = f"{NOTE}\n# The policies\n\nIn the order in which a request meets them.\n\n{table}\n"
    return written


def page(name: str) -> str:
    """The page of one policy."""
    (model, *_) = get_args(PolicySet.model_fields[name].annotation)
    parts = [NOTE, f"# `{name}`\n", *_section(model)]
    for nested in _nested(model):
        parts += [f"## {nested.__name__}\n", *_section(nested)]
    return "\n".join(parts)


def _section(model: type[BaseModel]) -> list[str]:
    text = inspect.cleandoc(model.__doc__ or "")
    before, _, example = text.partition("Example:\n")
    parts = [before.strip() + "\n"]
    if example:
        parts.append(inspect.cleandoc(example) + "\n")
    told = docstrings(model)
    parts += [_field(field.alias or name, field, told.get(name, "")) for name, field in model.model_fields.items()]
    return parts


def _field(name: str, field: FieldInfo, told: str) -> str:
    kind = "size" if _is_size(field.metadata) else _kind(field.annotation)
    facts = ", ".join(fact for fact in (kind, _default(field)) if fact)
    return f"### `{name}`\n\n{_wrapped(told)}\n\n{_wrapped(f'*{facts}*')}\n"


def _is_size(marks: Iterable[Any]) -> bool:
    return any(mark in _SIZE for mark in marks)


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, timedelta):
        value = f"{value.total_seconds():g}s"
    if _is_size(field.metadata) and isinstance(value, int):
        value = size(value)
    if isinstance(value, BaseModel):
        return ""
    if isinstance(value, tuple):
        value = list(value)
    return f"default `{json.dumps(value, ensure_ascii=False)}`"


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(f"`{json.dumps(word)}`" for word in arguments)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(part) for part in arguments if part is not type(None)))
    if origin is tuple:
        return f"list: {_kind(arguments[0])}"
    if origin is dict:
        return f"mapping of text to {_kind(arguments[1])}"
    if hasattr(annotation, "__metadata__"):
        return _kind(arguments[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", timedelta: "duration"}
    return names.get(annotation, "anything")


def _nested(model: type[BaseModel], seen: frozenset[type] = frozenset()) -> list[type[BaseModel]]:
    """Models inside this one, in order, each once."""
    found: list[type[BaseModel]] = []
    for field in model.model_fields.values():
        for inner in _models(field.annotation):
            if inner not in found and inner not in seen:
                found += [inner, *_nested(inner, seen | {model, *found, inner})]
    return list(dict.fromkeys(found))


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def main(folder: Path) -> None:
    """Writes all pages and removes those of policies that are gone; pages that people wrote stay."""
    folder.mkdir(parents=True, exist_ok=True)
    written = pages()
    for file in folder.glob("*.md"):
        if file.name not in written and file.read_text(encoding="utf-8").startswith(NOTE):
            file.unlink()
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REFERENCE)
