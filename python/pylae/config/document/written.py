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

from pylae.config.document.nodes import Foreign, Node, Step, Tree, find
from pylae.config.models.application import name_of
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


def is_mark(value: object) -> bool:
    """Whether a value is a mark."""
    return isinstance(value, str) and bool(_MARK.fullmatch(value))


def has_mark(text: str) -> bool:
    """Whether there is a mark in a text."""
    return bool(_MARK.search(text))


def is_credential(key: object) -> bool:
    """Whether what stands under this name is a secret."""
    return bool(_CREDENTIAL.search(str(key)))


def hidden(config: BaseModel) -> dict[str, str | float]:
    """The secrets of a configuration by their marks."""
    return {mark(leaf.value): leaf.value for leaf in leaves(config) if leaf.secret and leaf.value != ""}


def shown_reference(read: Node | Foreign | None) -> str | None:
    """The reference that a secret comes from, if it can be shown: a default, or what stands around, is a secret too."""
    found = read.written if read is not None else None
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
    # An application that a program has: it can be named, and is no part of a document.
    return f"({name_of(value)})" if callable(value) else value


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


def as_written(tree: Tree, config: BaseModel | None = None) -> Any:
    """A document as it was written, references and all; the secrets of its configuration are hidden, if it is given."""
    marks, by_text = _marks(tree, config) if config is not None else ({}, {})
    return _Hidden(tree, marks, by_text).shown(tree.data)


@dataclass(frozen=True, slots=True)
class _Hidden:
    """What is hidden in a document. No nested function, which would keep all of this alive by referring to itself."""

    tree: Tree
    marks: Mapping[int, Mapping[Step, str]]
    by_text: Mapping[str, str]

    def shown(self, value: Any, foreign: Foreign | None = None, hidden: str | None = None) -> Any:
        if hidden is not None:
            return shown_reference(foreign) or hidden
        if isinstance(value, dict):
            known, marks = self.tree.foreign(value), self.marks.get(id(value), {})
            return {key: self.shown(item, known.get(key), marks.get(key)) for key, item in value.items()}
        if isinstance(value, list):
            known, marks = self.tree.foreign(value), self.marks.get(id(value), {})
            return [self.shown(item, known.get(index), marks.get(index)) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        if (found := self.by_text.get(value)) is not None:
            return shown_reference(foreign) or found
        return _escaped(value) if foreign is None or foreign.written is None else foreign.written


def joined(node: Node) -> str | None:
    """The JSON of a mapping or list with references in it, as they were written; None where there are none."""
    if not isinstance(node.value, dict | list) or not _refers(node):
        return None
    return json.dumps(_referring(node))


def _refers(node: Node) -> bool:
    return node.interpolated or any(_refers(child) for _, child in node.items())


def _referring(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _referring(child) for key, child in node.items()}
    if isinstance(node.value, list):
        return [_referring(child) for _, child in node.items()]
    if not node.interpolated:
        return node.value
    return mark(node.value) if node.written is None else node.written


def _marks(tree: Tree, config: BaseModel) -> tuple[dict[int, dict[Step, str]], dict[str, str]]:
    """What hides each value that a secret was read from, by what it is in; and each text that is a secret."""
    places: dict[int, dict[Step, str]] = {}
    texts: dict[str, str] = {}
    for leaf in leaves(config):
        if not leaf.secret or leaf.value == "":
            continue
        if isinstance(leaf.value, str):
            texts[leaf.value] = mark(leaf.value)
        found = find(tree, leaf.path)
        # A short form leaves levels out, and what is a default has no node: then what was found is around it.
        if found.path[-1:] == leaf.path[-1:] or not isinstance(found.node.value, dict | list):
            places.setdefault(id(found.node.inside), {})[found.node.step] = mark(leaf.value)
    return places, texts


def reveal(tree: Tree, marks: Mapping[str, str | float]) -> tuple[list[str | float], list[At]]:
    """Replaces the marks in a document by what they stand for.

    Returns the secrets that came in, and the places of marks that stand for nothing.
    """
    revealed: list[str | float] = []
    unknown: list[At] = []
    for inside, step, path in list(_marked(tree.data, ())):
        found = inside[step]
        if (secret := marks.get(found)) is not None:
            tree.reveal(inside, step, secret)
            revealed.append(secret)
        elif is_mark(found):
            # An alias leads here twice, to the secret the second time.
            unknown.append(path)
    return revealed, unknown


def _marked(inside: Any, path: At) -> Iterator[tuple[Any, Step, At]]:
    """The marks in a mapping or list."""
    for step, value in inside.items() if isinstance(inside, dict) else enumerate(inside):
        if isinstance(value, dict | list):
            yield from _marked(value, (*path, step))
        elif is_mark(value):
            yield inside, step, (*path, step)


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
