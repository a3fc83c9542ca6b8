"""A configuration as a person would write it, with its secrets hidden; and back again.

A secret is shown as a mark that stands for it. A document that is handed in may contain marks: each becomes the secret
that it stands for, wherever secrets stand, so that what was read can be edited and handed in again.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, SecretStr

from pylae.config.nodes import Node, Step
from pylae.units import RequestRate

_CREDENTIAL = re.compile(r"authorization|cookie|secret|password|token|credential|api[-_]?key", re.IGNORECASE)
"""In names of header fields and settings of plugins: their values are secrets wherever they stand."""

_KEY = secrets.token_bytes(32)
"""Of this process, so that a mark says nothing about the secret."""
_MARK = re.compile(r"\(hidden:[0-9a-f]{24}\)")

At = tuple[Step, ...]


def mark(secret: str) -> str:
    """What stands for a secret."""
    return f"(hidden:{hmac.digest(_KEY, secret.encode(), 'sha256').hex()[:24]})"


def texts(value: Any, path: At = (), secret: bool = False) -> Iterator[tuple[At, str, bool]]:
    """Every text in a model with its path, and whether it is a secret."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from texts(getattr(value, name), (*path, name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts(item, (*path, key), bool(_CREDENTIAL.search(str(key))))
    elif isinstance(value, tuple | list | frozenset):
        for index, item in enumerate(value):
            yield from texts(item, (*path, index), secret)
    elif isinstance(value, SecretStr):
        yield path, value.get_secret_value(), True
    elif isinstance(value, str):
        yield path, value, secret


def hidden(config: BaseModel) -> dict[str, str]:
    """The secrets of a configuration by their marks."""
    return {mark(text): text for _, text, secret in texts(config) if secret and text}


def written(
    value: Any,
    show: Callable[[At], str | None] = lambda _: None,
    *,
    defaults: bool = False,
    path: At = (),
    secret: bool = False,
) -> Any:
    """A model as it could stand in a document; only what was set, unless `defaults`.

    `show` may give the text that stands for the value at a path, such as the reference that it came from.
    """

    def inner(value: Any, step: Step, secret: bool = False) -> Any:
        return written(value, show, defaults=defaults, path=(*path, step), secret=secret)

    if isinstance(value, BaseModel):
        fields = [name for name in type(value).model_fields if defaults or name in value.model_fields_set]
        return {name: inner(getattr(value, name), name) for name in fields}
    if isinstance(value, Mapping):
        return {str(key): inner(item, key, bool(_CREDENTIAL.search(str(key)))) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset):
        return [inner(item, index, secret) for index, item in enumerate(value)]
    if isinstance(value, SecretStr):
        return show(path) or mark(value.get_secret_value())
    if isinstance(value, str):
        return show(path) or (mark(value) if secret and value else value)
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        return int(seconds) if seconds.is_integer() else seconds
    if isinstance(value, RequestRate):
        return f"{value.limit}/{value.per.total_seconds():g}s"
    return value


def as_written(node: Node, marks: Mapping[str, str] | None = None) -> Any:
    """A document as it was written, references and all; secrets of `marks` (by mark) are hidden."""
    known = {text: name for name, text in (marks or {}).items()}

    def plain(node: Node) -> Any:
        if isinstance(node.value, dict):
            return {key: plain(child) for key, child in node.value.items()}
        if isinstance(node.value, list):
            return [plain(child) for child in node.value]
        if node.written is not None:
            return node.written
        return known.get(node.value, node.value) if isinstance(node.value, str) else node.value

    return plain(node)


def reveal(node: Node, marks: Mapping[str, str]) -> tuple[set[str], list[tuple[Node, At]]]:
    """Replaces the marks in a document by what they stand for.

    Returns the secrets that were put in, and the places of marks that stand for nothing.
    """
    used: set[str] = set()
    unknown: list[tuple[Node, At]] = []

    def visit(node: Node, path: At) -> None:
        if isinstance(node.value, dict | list):
            children = node.value.items() if isinstance(node.value, dict) else enumerate(node.value)
            for step, child in children:
                visit(child, (*path, step))
        elif isinstance(node.value, str) and _MARK.fullmatch(node.value):
            if (secret := marks.get(node.value)) is None:
                unknown.append((node, path))
            else:
                used.add(secret)
                node.value = secret

    visit(node, ())
    return used, unknown


def misplaced(config: BaseModel, used: set[str]) -> Iterator[At]:
    """Where revealed secrets stand that is no place for secrets: they could be read there."""
    return (path for path, text, secret in texts(config) if text in used and not secret)


def differences(old: Any, new: Any, path: At = ()) -> Iterator[tuple[At, Any, Any]]:
    """What differs between two written configurations: path, value before and after; None is "not there".

    Items of lists are compared by their `name` or `url` where all have one, and by place otherwise.
    """
    if isinstance(old, list) and isinstance(new, list):
        old, new = _named(old), _named(new)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from differences(old.get(key), new.get(key), (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            one, other = (items[index] if index < len(items) else None for items in (old, new))
            yield from differences(one, other, (*path, index))
    elif old != new:
        yield path, old, new


def _named(items: list[Any]) -> Any:
    for key in ("name", "url"):
        names = [item.get(key) if isinstance(item, Mapping) else None for item in items]
        if items and all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
            return dict(zip(names, items, strict=True))
    return items
