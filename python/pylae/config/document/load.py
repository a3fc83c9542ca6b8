"""Reads configuration files: a text with its values filled in, and where each of them is written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from pylae.config.document.again import Earlier, Pieces, shortened
from pylae.config.document.files import read_text
from pylae.config.document.nodes import Tree, place
from pylae.config.document.reader import Reader, Refusal
from pylae.errors import ConfigError, Problem


@dataclass(frozen=True)
class Document:
    """A file that was read: its content, and all files that it was made of with the hashes of their contents."""

    file: str
    root: Tree
    files: Mapping[Path, str | None]
    counted: tuple[int, int] = (0, 0)
    """The number of values read, and of those that aliases added."""
    included: tuple[Path, ...] = ()
    """The files and patterns that it includes (`pylae.config.document.include`)."""
    warnings: tuple[Problem, ...] = ()
    kept: Mapping[str, Earlier] = field(default_factory=dict)
    """What is needed to read its files again, by their names."""


def read(path: Path, environ: Mapping[str, str] = os.environ, earlier: Document | None = None) -> Document:
    """Reads one file, without what it includes (see `pylae.config.document.include`). Raises ConfigError.

    What is as in `earlier`, which was read from the same file, is the same object.
    """
    files: dict[Path, str | None] = {}
    reader = Reader(read_text(path, files), str(path), environ, files, lambda _: None, path.parent)
    return _read(reader, earlier)


def parse(
    text: str,
    file: str,
    files: Mapping[Path, str | None] | None = None,
    environ: Mapping[str, str] = os.environ,
    refusal: Refusal = lambda _: None,
) -> Document:
    """Reads a configuration from text. Raises ConfigError.

    Args:
        text: The YAML text.
        file: Its file name. `${file:…}` is relative to this file's folder.
        files: The files read so far, with their hashes.
        environ: The environment variables.
        refusal: Decides what is allowed in `${…}`. Refused references are not looked up.
    """
    # Without what it needs to be read again: secrets may take the place of marks in it.
    return replace(_read(Reader(text, file, environ, dict(files or {}), refusal, Path(file).parent)), kept={})


def parse_part(
    whole: Document,
    text: str,
    file: str,
    environ: Mapping[str, str] = os.environ,
    earlier: Document | None = None,
) -> tuple[Any, Document]:
    """Reads an included file into the tree of the file that includes it. Returns its content and the extended document.

    Paths in it are relative to the file that includes it. What is as in `earlier` is the same object. Raises
    ConfigError.
    """
    tree = whole.root
    data, root = tree.data, tree.root
    reader = Reader(text, file, environ, dict(whole.files), lambda _: None, Path(whole.file).parent, tree=tree)
    reader.values, reader.aliased = whole.counted
    try:
        document = _read(reader, earlier)
        kept = {**whole.kept, **document.kept}
        return tree.data, replace(whole, files=document.files, counted=document.counted, kept=kept)
    finally:
        tree.begin(data, root.at)


def _read(reader: Reader, earlier: Document | None = None) -> Document:
    text, file = reader.text, reader.file
    reader.number = len(reader.tree.files)
    reader.base = place(0, 0, reader.number)
    reader.tree.files.append(file)
    known = earlier.kept.get(file) if earlier is not None else None
    if known is not None and (document := _read_again(reader, known)) is not None:
        return document
    try:
        root = reader.document()
    except yaml.MarkedYAMLError as error:
        raise ConfigError([*reader.problems, _syntax(error, text, file)], reader.files) from None
    except yaml.YAMLError as error:
        problem = Problem(file, *_reader_place(error, text), "", f"not YAML: {_reader_reason(error)}")
        raise ConfigError([problem], reader.files) from None
    if reader.problems:
        raise ConfigError(reader.problems, reader.files)
    return _made(reader, root, text, None)


def _read_again(reader: Reader, earlier: Earlier) -> Document | None:
    """Reads a file of which some items are known; None if it is better read as a whole, as when there are mistakes."""
    found = shortened(reader.text, earlier)
    if found is None:
        return None
    again = replace(
        reader, text=found.text, runs=found.runs, problems=[], anchors={}, path=[], files=dict(reader.files)
    )
    try:
        root = again.document()
    except (yaml.YAMLError, ConfigError):
        return None
    if again.problems or again.runs or again.is_full:
        return None
    return _made(again, root, None, found.pieces)


def _made(reader: Reader, root: Tree, text: str | None, pieces: Pieces | None) -> Document:
    """Returns the document that was read from a text, which may have been divided."""
    kept = {}
    if reader.items is not None and not reader.anchors and not reader.refers:
        kept[reader.file] = Earlier(text, pieces, root, reader.items, reader.number)
    return Document(reader.file, root, reader.files, (reader.values, reader.aliased), kept=kept)


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    rows = text.splitlines()
    row = rows[line - 1] if line <= len(rows) else ""
    words = [word for word in (error.context, error.problem) if word]
    hint = None
    if "\t" in row[: len(row) - len(row.lstrip())]:
        hint = "indent with spaces, not tabs"
    elif re.search(r"[{\[].*(?<!\")\$\{", row):
        hint = 'inside { } and [ ], put quotes around "${…}"'
    return Problem(file, line, column, "", f"not YAML: {', '.join(words)}", hint)


def _reader_place(error: yaml.YAMLError, text: str) -> tuple[int, int]:
    position = getattr(error, "position", 0)
    if not isinstance(position, int) or not 0 <= position <= len(text):
        return 1, 1
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)


def _reader_reason(error: yaml.YAMLError) -> str:
    letter = getattr(error, "character", None)
    code = f" U+{letter:04X}" if isinstance(letter, int) else ""
    return f"{getattr(error, 'reason', 'unreadable')}{code}"
