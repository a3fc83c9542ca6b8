"""Writes a configuration as a person would, with its secrets hidden, and reads it back.

Each secret is replaced by a mark. A document that is applied may contain marks, and each is replaced by its secret, so
a configuration can be read, edited and applied again. A mark is accepted only where its secret was: anywhere else, the
secret could be read or sent to someone.
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
"""Names of header fields and plugin settings whose values are always secrets."""

_KEY = secrets.token_bytes(32)
"""Random key of this process, so that a mark reveals nothing about its secret."""
HIDDEN = "(hidden)"
"""Stands for a secret that is kept nowhere. It says nothing about the secret, not even whether two are the same."""
_MARK = re.compile(r"\(hidden:[0-9a-f]{24}\)")
_PURE_REFERENCE = re.compile(r"(?:[A-Za-z]+ )?\$\{(?!\$)(?:(?!:-)[^{}])*\}")
"""A reference that can be shown in place of a secret: without a default, and with at most a word before it."""

At = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A text in a model, or another value that is a secret."""

    path: At
    value: str | float
    secret: bool


def mark(secret: str | float) -> str:
    """Returns the mark of a secret."""
    return f"(hidden:{hmac.digest(_KEY, str(secret).encode(), 'sha256').hex()[:24]})"


def leaves(value: Any, path: At = (), secret: bool = False) -> Iterator[Leaf]:
    """Yields every text in a model, and whether it is a secret."""
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
    """Returns true if a value is a mark."""
    return isinstance(value, str) and bool(_MARK.fullmatch(value))


def has_mark(text: str) -> bool:
    """Returns true if a text contains a mark."""
    return bool(_MARK.search(text))


def is_credential(key: object) -> bool:
    """Returns true if a value under this name is a secret."""
    return bool(_CREDENTIAL.search(str(key)))


def hidden(config: BaseModel) -> dict[str, str | float]:
    """Returns the secrets of a configuration by their marks."""
    return {mark(leaf.value): leaf.value for leaf in leaves(config) if leaf.secret and leaf.value != ""}


def shown_reference(read: Node | Foreign | None) -> str | None:
    """Returns the reference that a secret came from, if it can be shown. A default or text around it is a secret
    too.
    """
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
    """Returns a model as it could be written in a document, with only the settings that were set unless `defaults` is
    true.

    `show` may return a text to show for the value at a path, such as the reference that it came from. It also receives
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
    # An application object of a program: it has a name but cannot be part of a document.
    return f"({name_of(value)})" if callable(value) else value


def was_written(config: BaseModel, path: At) -> bool:
    """Returns true if the setting at a path was written in a file or program, and is not a default."""
    value: Any = config
    for depth, step in enumerate(path):
        if value is None:
            return False
        if isinstance(value, BaseModel):
            if step not in type(value).model_fields:
                return True
            # At the top, routes and services are those that were added.
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
    """Escapes a text so that nothing in it is read as a reference."""
    return text.replace("${", "$${")


def as_written(tree: Tree, config: BaseModel | None = None) -> Any:
    """Returns a document as it was written, with its references. If its configuration is given, secrets are hidden."""
    marks, by_text = _marks(tree, config) if config is not None else ({}, {})
    return _Hidden(tree, marks, by_text).shown(tree.data)


@dataclass(frozen=True, slots=True)
class _Hidden:
    """Hides the secrets of a document. Not a nested function, which would keep the document alive by referring to
    itself.
    """

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
    """Returns the JSON of a mapping or list as it was written, with references; None if it contains no reference."""
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
    """Returns what hides each value that contains a secret, by its container, and each text that is a secret."""
    places: dict[int, dict[Step, str]] = {}
    texts: dict[str, str] = {}
    for leaf in leaves(config):
        if not leaf.secret or leaf.value == "":
            continue
        if isinstance(leaf.value, str):
            texts[leaf.value] = mark(leaf.value)
        found = find(tree, leaf.path)
        # Short forms omit levels and defaults have no node. In both cases the node that was found is an outer one.
        if found.path[-1:] == leaf.path[-1:] or not isinstance(found.node.value, dict | list):
            places.setdefault(id(found.node.inside), {})[found.node.step] = mark(leaf.value)
    return places, texts


def reveal(tree: Tree, marks: Mapping[str, str | float]) -> tuple[list[str | float], list[At]]:
    """Replaces the marks in a document by their secrets.

    Returns the secrets that were filled in, and the places of unknown marks.
    """
    revealed: list[str | float] = []
    unknown: list[At] = []
    for inside, step, path in list(_marked(tree.data, ())):
        found = inside[step]
        if (secret := marks.get(found)) is not None:
            tree.reveal(inside, step, secret)
            revealed.append(secret)
        elif is_mark(found):
            # With an alias this place is visited twice. The second time it holds the secret.
            unknown.append(path)
    return revealed, unknown


def _marked(inside: Any, path: At) -> Iterator[tuple[Any, Step, At]]:
    """Yields the marks in a mapping or list."""
    for step, value in inside.items() if isinstance(inside, dict) else enumerate(inside):
        if isinstance(value, dict | list):
            yield from _marked(value, (*path, step))
        elif is_mark(value):
            yield inside, step, (*path, step)


def differences(old: Any, new: Any, path: At = ()) -> Iterator[tuple[At, Any, Any]]:
    """Yields the differences between two written configurations: path, value before and after. None means absent.

    Items of lists are matched by `name` or `url` if all of them have one, otherwise by index.
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
