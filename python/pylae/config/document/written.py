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
import types
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin
from weakref import WeakKeyDictionary

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
class Secret:
    """A secret in a model, and its path there."""

    path: At
    value: str | float


def mark(secret: str | float) -> str:
    """Returns the mark of a secret."""
    return f"(hidden:{hmac.digest(_KEY, str(secret).encode(), 'sha256').hex()[:24]})"


def secrets_in(value: Any, path: At = ()) -> Iterator[Secret]:
    """Yields every secret in a model that is not empty. It looks only where one can be: there may be many models."""
    if (bearing := _bearing(type(value))) is not None:
        for name in bearing.names:
            if found := getattr(value, name):
                yield from secrets_in(found, (*path, name))
    elif isinstance(value, SecretStr):
        yield Secret(path, value.get_secret_value())
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if is_credential(key):
                yield from _texts(item, (*path, key))
            elif not _is_bare(item):
                yield from secrets_in(item, (*path, key))
    elif isinstance(value, tuple | list | frozenset):
        for index, item in enumerate(value):
            if not _is_bare(item):
                yield from secrets_in(item, (*path, index))


def _is_bare(value: Any) -> bool:
    """Returns true for a model in which nothing is set that may have a secret in it, as in most routes."""
    bearing = _bearing(type(value))
    return bearing is not None and bearing.empty and bearing.names.isdisjoint(value.model_fields_set)


def _texts(value: Any, path: At) -> Iterator[Secret]:
    """Yields every text and number in what has the name of a secret."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _texts(getattr(value, name), (*path, name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, tuple | list | frozenset):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))
    elif isinstance(value, SecretStr):
        yield Secret(path, value.get_secret_value())
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield Secret(path, value)


class _Bearing(NamedTuple):
    """The fields of a model that may have a secret in them."""

    names: AbstractSet[str]
    """In their order."""
    empty: bool
    """Whether none of them has something in it unless it is set."""


_BEARING: WeakKeyDictionary[type, _Bearing | None] = WeakKeyDictionary()
"""Those of the models that were met. Plugins may bring some and take them away."""


def _bearing(kind: type) -> _Bearing | None:
    """Returns the fields of a model that may have a secret in them; None of what is no model."""
    try:
        return _BEARING[kind]
    except KeyError:
        found = _BEARING[kind] = _found_bearing(kind)
        return found


def _found_bearing(kind: type) -> _Bearing | None:
    if not issubclass(kind, BaseModel):
        return None
    fields = {name: field for name, field in kind.model_fields.items() if not _is_plain(field.annotation)}
    empty = all(not field.get_default(call_default_factory=True) for field in fields.values())
    return _Bearing(fields.keys(), empty)


def _is_plain(annotation: Any) -> bool:
    """Returns true if values of a type are texts, numbers and the like, or lists of them, which are no secrets."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_plain(get_args(annotation)[0])
    if origin is Literal:
        return True
    if origin in (Union, types.UnionType, tuple, list, frozenset):
        return all(part is Ellipsis or _is_plain(part) for part in get_args(annotation))
    return annotation in _PLAIN


_PLAIN = (str, int, float, bool, type(None), timedelta, RequestRate)


def is_mark(value: object) -> bool:
    """Returns true if a value is a mark."""
    return isinstance(value, str) and value[:1] == "(" and bool(_MARK.fullmatch(value))


def has_mark(text: str) -> bool:
    """Returns true if a text contains a mark."""
    return bool(_MARK.search(text))


def is_credential(key: object) -> bool:
    """Returns true if a value under this name is a secret."""
    return bool(_CREDENTIAL.search(str(key)))


def hidden(config: BaseModel) -> dict[str, str | float]:
    """Returns the secrets of a configuration by their marks."""
    return {mark(secret.value): secret.value for secret in secrets_in(config) if secret.value != ""}


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


_SHALLOW = 3
"""How deep it is looked whether all of a mapping or list is plain: routes and services are there."""


def as_written(tree: Tree, config: BaseModel | None = None, hide: Callable[[str | float], str] = mark) -> Any:
    """Returns a document as it was written, with its references. If its configuration is given, `hide` says what is in
    the place of each secret.

    Do not change it: parts of it may be those of the document.
    """
    marks, by_text = _marks(tree, config, hide) if config is not None else ({}, {})
    return _Hidden(tree, marks, by_text).shown(tree.data)


@dataclass(frozen=True, slots=True)
class _Hidden:
    """Hides the secrets of a document. Not a nested function, which would keep the document alive by referring to
    itself.
    """

    tree: Tree
    marks: Mapping[int, Mapping[Step, str]]
    by_text: Mapping[str, str]

    def shown(self, value: Any, foreign: Foreign | None = None, hidden: str | None = None, depth: int = 0) -> Any:
        if hidden is not None:
            return shown_reference(foreign) or hidden
        if isinstance(value, dict | list) and depth < _SHALLOW and self.is_plain(value):
            return value
        deeper = depth + 1
        if isinstance(value, dict):
            known, marks = self.tree.foreign(value), self.marks.get(id(value), {})
            return {key: self.shown(item, known.get(key), marks.get(key), deeper) for key, item in value.items()}
        if isinstance(value, list):
            known, marks = self.tree.foreign(value), self.marks.get(id(value), {})
            return [self.shown(item, known.get(index), marks.get(index), deeper) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        if (found := self.by_text.get(value)) is not None:
            return shown_reference(foreign) or found
        return _escaped(value) if foreign is None or foreign.written is None else foreign.written

    def is_plain(self, value: Any) -> bool:
        """Returns true if nothing in a mapping or list is special, as in most: it is shown as it is."""
        if not (self.marks or self.by_text or self.tree.has_foreign):
            return True
        inside, marks, by_text, foreign = [value], self.marks, self.by_text, self.tree.foreign
        for one in inside:
            if id(one) in marks or foreign(one):
                return False
            for item in one.values() if isinstance(one, dict) else one:
                kind = type(item)
                if kind is str:
                    if item in by_text or "${" in item:
                        return False
                elif kind is dict or kind is list:
                    inside.append(item)
        return True


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


def _marks(
    tree: Tree, config: BaseModel, hide: Callable[[str | float], str]
) -> tuple[dict[int, dict[Step, str]], dict[str, str]]:
    """Returns what hides each value that contains a secret, by its container, and each text that is a secret."""
    places: dict[int, dict[Step, str]] = {}
    texts: dict[str, str] = {}
    for secret in secrets_in(config):
        if secret.value == "":
            continue
        if isinstance(secret.value, str):
            texts[secret.value] = hide(secret.value)
        found = find(tree, secret.path)
        # Short forms omit levels and defaults have no node. In both cases the node that was found is an outer one.
        if found.path[-1:] == secret.path[-1:] or not isinstance(found.node.value, dict | list):
            places.setdefault(id(found.node.inside), {})[found.node.step] = hide(secret.value)
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
