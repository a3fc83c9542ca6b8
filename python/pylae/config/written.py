"""A configuration as a person would write it, with its secrets hidden; and back again.

A secret is shown as a mark that stands for it. A document that is handed in may contain marks: each becomes the secret
that it stands for, so that what was read can be edited and handed in again. It counts only where the secret stands
already: elsewhere it could be read, or sent to somebody.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, SecretStr

from pylae.config.nodes import Node, Step, find
from pylae.units import RequestRate

_CREDENTIAL = re.compile(
    r"authorization|cookie|secret|pass(word|wd|phrase)|pwd|token|credential|signature|bearer"
    r"|(api|access|private|shared|signing|encryption|hmac|master)[-_]?key",
    re.IGNORECASE,
)
"""In names of header fields and settings of plugins: their values are secrets wherever they stand."""

_KEY = secrets.token_bytes(32)
"""Of this process, so that a mark says nothing about the secret."""
_MARK = re.compile(r"\(hidden:[0-9a-f]{24}\)")
_PURE_REFERENCE = re.compile(r"(?:[A-Za-z]+ )?\$\{(?!\$)(?:(?!:-)[^{}])*\}")
"""A reference that can be shown where a secret stands: without a default, and with nothing but a word before it."""

At = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A text in a model, or another value that is a secret."""

    path: At
    value: str | float
    secret: bool


def mark(secret: str | float) -> str:
    """What stands for a secret."""
    return f"(hidden:{hmac.digest(_KEY, str(secret).encode(), 'sha256').hex()[:24]})"


def leaves(value: Any, path: At = (), secret: bool = False) -> Iterator[Leaf]:
    """Every text in a model, and whether it is a secret."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from leaves(getattr(value, name), (*path, name), secret)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, (*path, key), secret or is_credential(key))
    elif isinstance(value, tuple | list | frozenset):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index), secret)
    elif isinstance(value, SecretStr):
        yield Leaf(path, value.get_secret_value(), True)
    elif isinstance(value, str) or (secret and isinstance(value, int | float) and not isinstance(value, bool)):
        yield Leaf(path, value, secret)


def has_mark(text: str) -> bool:
    """Whether there is a mark in a text."""
    return bool(_MARK.search(text))


def is_credential(key: object) -> bool:
    """Whether what stands under this name is a secret."""
    return bool(_CREDENTIAL.search(str(key)))


def hidden(config: BaseModel) -> dict[str, str | float]:
    """The secrets of a configuration by their marks."""
    return {mark(leaf.value): leaf.value for leaf in leaves(config) if leaf.secret and leaf.value != ""}


def shown_reference(node: Node | None) -> str | None:
    """The reference that a secret comes from, if it can be shown: a default, or what stands around, is a secret too."""
    found = node.written if node is not None else None
    return found if found is not None and _PURE_REFERENCE.fullmatch(found) else None


def written(
    value: Any,
    show: Callable[[At, bool], str | None] = lambda _path, _secret: None,
    *,
    defaults: bool = False,
    path: At = (),
    secret: bool = False,
) -> Any:
    """A model as it could stand in a document; only what was set, unless `defaults`.

    `show` may give the text that stands for the value at a path, such as the reference that it came from; it is told
    whether the value is a secret.
    """

    def inner(value: Any, step: Step, secret: bool = False) -> Any:
        return written(value, show, defaults=defaults, path=(*path, step), secret=secret)

    if isinstance(value, BaseModel):
        fields = [name for name in type(value).model_fields if defaults or name in value.model_fields_set]
        return {name: inner(getattr(value, name), name, secret) for name in fields}
    if isinstance(value, Mapping):
        return {str(key): inner(item, key, secret or is_credential(key)) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset):
        return [inner(item, index, secret) for index, item in enumerate(value)]
    if isinstance(value, SecretStr):
        return show(path, True) or mark(value.get_secret_value())
    if isinstance(value, str):
        return show(path, secret) or (mark(value) if secret and value else _escaped(value))
    if secret and isinstance(value, int | float) and not isinstance(value, bool):
        return mark(value)
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        return int(seconds) if seconds.is_integer() else seconds
    if isinstance(value, RequestRate):
        return f"{value.limit}/{value.per.total_seconds():g}s"
    return value


def was_written(config: BaseModel, path: At) -> bool:
    """Whether somebody has written the setting at a path, in a file or a program; what is not there is a default."""
    value: Any = config
    for depth, step in enumerate(path):
        if value is None:
            return False
        if isinstance(value, BaseModel):
            if step not in type(value).model_fields:
                return True
            # On top routes and services are whatever was added.
            if depth and step not in value.model_fields_set:
                return False
            value = getattr(value, str(step))
        else:
            listed = isinstance(value, tuple | list) and isinstance(step, int) and step < len(value)
            if not listed and not (isinstance(value, Mapping) and step in value):
                return True
            value = value[step]
    return True


def _escaped(text: str) -> str:
    """As it has to be written: what looks like a reference is none."""
    return text.replace("${", "$${")


def as_written(node: Node, config: BaseModel | None = None) -> Any:
    """A document as it was written, references and all; the secrets of its configuration are hidden, if it is given."""
    marks, by_text = _marks(node, config) if config is not None else ({}, {})

    def plain(node: Node) -> Any:
        if (found := marks.get(id(node))) is not None:
            return shown_reference(node) or found
        if isinstance(node.value, dict):
            return {key: plain(child) for key, child in node.value.items()}
        if isinstance(node.value, list):
            return [plain(child) for child in node.value]
        if not isinstance(node.value, str):
            return node.value
        if (found := by_text.get(node.value)) is not None:
            return shown_reference(node) or found
        return _escaped(node.value) if node.written is None else node.written

    return plain(node)


def joined(node: Node) -> str | None:
    """The JSON of a mapping or list with references in it, as they were written; None where there are none."""
    found = False

    def plain(node: Node) -> Any:
        nonlocal found
        if isinstance(node.value, dict):
            return {key: plain(child) for key, child in node.value.items()}
        if isinstance(node.value, list):
            return [plain(child) for child in node.value]
        found = found or node.interpolated
        if not node.interpolated:
            return node.value
        return mark(node.value) if node.written is None else node.written

    text = json.dumps(plain(node)) if isinstance(node.value, dict | list) else ""
    return text if found else None


def _marks(root: Node, config: BaseModel) -> tuple[dict[int, str], dict[str, str]]:
    """What hides each node that a secret was read from; and each text that is one, wherever it stands."""
    nodes: dict[int, str] = {}
    texts: dict[str, str] = {}
    for leaf in leaves(config):
        if not leaf.secret or leaf.value == "":
            continue
        if isinstance(leaf.value, str):
            texts[leaf.value] = mark(leaf.value)
        found = find(root, leaf.path)
        # A short form leaves levels out, and what is a default has no node: then what was found is around it.
        if found.path[-1:] == leaf.path[-1:] or not isinstance(found.node.value, dict | list):
            nodes[id(found.node)] = mark(leaf.value)
    return nodes, texts


def reveal(node: Node, marks: Mapping[str, str | float]) -> tuple[dict[int, tuple[Node, At]], list[tuple[Node, At]]]:
    """Replaces the marks in a document by what they stand for.

    Returns the nodes that were marks, by their `id`, and the places of marks that stand for nothing.
    """
    revealed: dict[int, tuple[Node, At]] = {}
    unknown: list[tuple[Node, At]] = []

    def visit(node: Node, path: At) -> None:
        if isinstance(node.value, dict | list):
            children = node.value.items() if isinstance(node.value, dict) else enumerate(node.value)
            for step, child in children:
                visit(child, (*path, step))
        elif isinstance(node.value, str) and id(node) not in revealed and _MARK.fullmatch(node.value):
            if (secret := marks.get(node.value)) is None:
                unknown.append((node, path))
            else:
                # No message may show it.
                node.value, node.interpolated = secret, True
                revealed[id(node)] = node, path

    visit(node, ())
    return revealed, unknown


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
