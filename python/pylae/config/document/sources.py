"""Where each setting was written: in a YAML document, or by a call in a Python program."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pylae.config.document.load import Document
from pylae.config.document.nodes import Node, Step, find, show_path
from pylae.errors import Problem


@dataclass(frozen=True, slots=True)
class Place:
    """Where a setting stands. `path` is as written there; `node` is None for Python."""

    file: str | None
    line: int | None
    column: int | None
    path: tuple[Step, ...]
    node: Node | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)

    def problem(self, message: str, hint: str | None = None, *, path: str | None = None) -> Problem:
        """What is wrong here. `path` is given where it is not the one that is written here."""
        return Problem(self.file, self.line, self.column, show_path(self.path) if path is None else path, message, hint)


class Sources(Protocol):
    """Knows where each setting of a configuration was written."""

    def locate(self, path: Sequence[Step], *, key: bool = False) -> Place:
        """The place of the setting at this path of the model, or of what it is a part or default of.

        `key` asks for the place of the key instead of its value.
        """


@dataclass(frozen=True)
class DocumentSources:
    """Settings of a YAML document."""

    document: Document

    def locate(self, path: Sequence[Step], *, key: bool = False) -> Place:
        found = find(self.document.root, path)
        line, column = found.key if key and found.key else (found.node.line, found.node.column)
        return Place(found.node.file, line, column, found.path, found.node)


@dataclass(frozen=True)
class CallSources:
    """Settings of a Python program: the file and line of the call that brought each, by the path that it set.

    `document` is where the rest was written, if the program began with a file.
    """

    calls: Mapping[tuple[Step, ...], tuple[str, int]]
    document: DocumentSources | None = None

    def locate(self, path: Sequence[Step], *, key: bool = False) -> Place:
        for end in range(len(path), -1, -1):
            if call := self.calls.get(tuple(path[:end])):
                return Place(call[0], call[1], None, tuple(path))
        if self.document is not None:
            return self.document.locate(path, key=key)
        return Place(None, None, None, tuple(path))


@dataclass(frozen=True)
class Below:
    """Settings of a model that is a part of another, at `path` of that."""

    sources: Sources
    path: tuple[Step, ...]

    def locate(self, path: Sequence[Step], *, key: bool = False) -> Place:
        place = self.sources.locate((*self.path, *path), key=key)
        # None of them is written: what is missing is missing there, and not where the whole stands.
        return replace(place, path=self.path) if place.path == self.path[: len(place.path)] else place


def calling() -> tuple[str, int]:
    """File and line of the call into this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "pylae":
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def shown(value: Any, *, hidden: bool) -> str:
    """A value as an error message shows it: short, and not at all if it may be a secret."""
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
