"""Where each setting was written: in a YAML document, or by a call in a Python program."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pylae.config.document.load import Document
from pylae.config.document.nodes import Node, Step, find, show_path
from pylae.errors import Problem


@dataclass(frozen=True, slots=True)
class Place:
    """Where a setting was written. `path` is the path as written; `node` is None in Python."""

    file: str | None
    line: int | None
    column: int | None
    path: tuple[Step, ...]
    node: Node | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)

    def problem(self, message: str, hint: str | None = None, *, path: str | None = None) -> Problem:
        """Returns a problem at this place. `path` overrides the path as written."""
        return Problem(self.file, self.line, self.column, show_path(self.path) if path is None else path, message, hint)


class Sources(Protocol):
    """Knows where each setting of a configuration was written."""

    def locate(self, path: Sequence[Step], *, key: bool = False) -> Place:
        """Returns the place of the setting at this path of the model. If it was not written, that of the nearest
        setting around.

        `key` asks for the place of the key instead of the value.
        """


@dataclass(frozen=True)
class DocumentSources:
    """Places of settings in a YAML document."""

    document: Document

    def locate(self, path: Sequence[Step], *, key: bool = False) -> Place:
        found = find(self.document.root, path)
        line, column = found.key if key and found.key else (found.node.line, found.node.column)
        return Place(found.node.file, line, column, found.path, found.node)


@dataclass(frozen=True)
class CallSources:
    """Places of settings in a Python program: the file and line of the call that set each path.

    `document` has the rest if the program started from a file.
    """

    calls: Mapping[tuple[Step, ...], tuple[str, int]]
    document: Sources | None = None

    def locate(self, path: Sequence[Step], *, key: bool = False) -> Place:
        for end in range(len(path), -1, -1):
            if call := self.calls.get(tuple(path[:end])):
                return Place(call[0], call[1], None, tuple(path))
        if self.document is not None:
            return self.document.locate(path, key=key)
        return Place(None, None, None, tuple(path))


@dataclass(frozen=True)
class Divided:
    """Places of settings of which those with some keys were written elsewhere than the rest."""

    keys: Collection[str]
    elsewhere: Sources
    rest: Sources

    def locate(self, path: Sequence[Step], *, key: bool = False) -> Place:
        return (self.elsewhere if path and path[0] in self.keys else self.rest).locate(path, key=key)


@dataclass(frozen=True)
class Below:
    """Places of the settings of a model that is a part of another one, at `path`."""

    sources: Sources
    path: tuple[Step, ...]

    def locate(self, path: Sequence[Step], *, key: bool = False) -> Place:
        place = self.sources.locate((*self.path, *path), key=key)
        # None of them is written: what is missing is missing there, and not where the whole stands.
        return replace(place, path=self.path) if place.path == self.path[: len(place.path)] else place


def calling() -> tuple[str, int]:
    """Returns file and line of the call into this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "pylae":
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def shown(value: Any, *, hidden: bool) -> str:
    """Returns a value as shown in error messages: shortened, and not at all if it may be a secret."""
    if hidden:
        return "a value that is not shown"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, str):
        text = value if len(value) <= 60 else f"{value[:57]}..."
        return '"' + "".join(char if char.isprintable() else repr(char)[1:-1] for char in text) + '"'
    return str(value) if isinstance(value, int | float) else f"a {type(value).__name__}"
