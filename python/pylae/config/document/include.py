"""Configurations in several files: the main file includes others, which contain services and routes."""

from __future__ import annotations

import glob
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PosixPath
from typing import Any, NamedTuple

from pylae.config.document.files import digest, read_text
from pylae.config.document.load import Document, parse_part, read
from pylae.config.document.nodes import Foreign, Node, Step, line_and_column, show_path
from pylae.config.document.reader import MAX_PROBLEMS
from pylae.config.models.config import Config
from pylae.errors import ConfigError, Problem

KEY = "include"
_KINDS: Mapping[str, type] = {"services": dict, "routes": list}
"""Keys of an included file. All other keys concern the whole gateway and belong in the main file."""
MOST_FILES = 1000
"""Most files that can be included."""


class Pattern(PosixPath):
    """A pattern of file names. A watcher that follows it notices files that appear or go."""

    def matching(self) -> list[Path]:
        """Returns the files in the order of their names, at most one more than `MOST_FILES`."""
        # `Path.glob` would also match names that begin with a dot, such as editors' temporary files.
        found = sorted(name for name in glob.glob(str(self)) if Path(name).is_file())  # noqa: PTH207
        return [Path(name) for name in found[: MOST_FILES + 1]]


def held(path: Path) -> str:
    """Returns the hash of a file's content, or of the names that a pattern matches. Raises OSError."""
    return _listed(path.matching()) if isinstance(path, Pattern) else digest(path.read_bytes())


def _listed(files: Sequence[Path]) -> str:
    return digest(b"\0".join(map(os.fsencode, files)))


class _Part(NamedTuple):
    """The content of an included file."""

    file: str
    data: dict[str, Any]


def read_whole(path: Path, environ: Mapping[str, str] = os.environ, earlier: Document | None = None) -> Document:
    """Reads a configuration file and the files that it includes. Raises ConfigError.

    What is as in `earlier`, which was read from the same file, is the same object.
    """
    document = read(path, environ, earlier)
    if not isinstance(document.root.data, dict) or KEY not in document.root.data:
        return document
    return _Including(document, environ, earlier).whole()


class _Including:
    """Reads the files that one document includes."""

    def __init__(self, document: Document, environ: Mapping[str, str], earlier: Document | None) -> None:
        self._document, self._environ, self._earlier = document, environ, earlier
        self._main = Path(document.file)
        self._tree = document.root
        self._problems: list[Problem] = []
        self._warnings: list[Problem] = []
        self._included: list[Path] = []
        self._patterns: dict[Path, str] = {}

    def whole(self) -> Document:
        parts = []
        for file in self._files():
            try:
                text = read_text(file, files := dict(self._document.files))
                self._document = replace(self._document, files=files)
                data, self._document = parse_part(self._document, text, str(file), self._environ, self._earlier)
                parts.append(_Part(str(file), data))
            except ConfigError as error:
                self._document = replace(self._document, files={**self._document.files, **error.files})
                self._problems += error.problems
        for part in parts:
            self._problems += self._strange(part)
        merged = self._merged(parts)
        if self._problems:
            raise ConfigError(self._problems[:MAX_PROBLEMS], self._document.files)
        self._tree.begin(merged, self._tree.root.at)
        return replace(self._document, included=(*self._included, *self._patterns), warnings=tuple(self._warnings))

    def _files(self) -> Sequence[Path]:
        """Returns the included files, each once, in their order."""
        known = {self._main.resolve()}
        for node, path, text in self._names():
            for file in self._named(node, path, text):
                if (real := file.resolve()) not in known:
                    known.add(real)
                    self._included.append(file)
        if len(self._included) > MOST_FILES:
            self._complain(self._at_key(), (KEY,), f"more than {MOST_FILES} files are included")
            return ()
        self._document = replace(self._document, files={**self._document.files, **self._patterns})
        return self._included

    def _names(self) -> Iterator[tuple[Node, tuple[Step, ...], str]]:
        """Yields the entries of `include`."""
        root = self._at_key()
        listed: list[tuple[tuple[Step, ...], Node]] = [((KEY,), root)]
        if isinstance(root.value, list):
            listed = [((KEY, index), node) for index, node in root.items()]
        for path, node in listed:
            if isinstance(node.value, str) and node.value:
                yield node, path, node.value
            else:
                self._complain(node, path, "must be the name of a file or a pattern of names", "e.g. `routes/*.yaml`")

    def _named(self, node: Node, path: tuple[Step, ...], text: str) -> Sequence[Path]:
        """Returns the files of one entry."""
        name = str(Path(text).expanduser())
        if not glob.has_magic(name):
            file = self._main.parent / name
            if not file.exists():
                self._document = replace(self._document, files={**self._document.files, file: None})
                self._complain(
                    node,
                    path,
                    "the file (not shown) does not exist" if node.interpolated else f"the file {file} does not exist",
                )
                return ()
            return [file]
        if "**" in name:
            hint = "write one pattern for each folder: `*.yaml`, `*/*.yaml`"
            self._complain(node, path, "`**` is not supported", hint)
            return ()
        pattern = Pattern(glob.escape(str(self._main.parent)), name)
        found = pattern.matching()
        self._patterns[pattern] = _listed(found)
        if not found:
            shown = "(not shown)" if node.interpolated else text
            self._warnings.append(self._problem(node, path, f"no file is included: none matches {shown}", None))
        return found

    def _strange(self, part: _Part) -> Iterator[Problem]:
        """Yields problems for keys that an included file must not have."""
        for key, value in part.data.items():
            at, value_at = self._tree.places(part.data, key)
            kind = _KINDS.get(key)
            if kind is not None:
                if not isinstance(value, kind):
                    text = f"must be a {'mapping' if kind is dict else 'list'}"
                    yield Problem(part.file, *line_and_column(value_at), key, text)
                continue
            if key == KEY:
                text, hint = "only the main file can include others", f"name them in {self._main}"
            elif key in Config.model_fields:
                text, hint = f"`{key}` is allowed only in the main file", f"write it in {self._main}"
            else:
                text, hint = f"unknown key `{key}`", f"an included file can have {' and '.join(_KINDS)}"
            yield Problem(part.file, *line_and_column(at), key, text, hint)

    def _merged(self, parts: Sequence[_Part]) -> dict[str, Any]:
        """Returns the mapping of the main file with the services and routes of all files."""
        main: dict[str, Any] = self._tree.data
        places = {key: self._tree.places(main, key) for key in main}
        foreign = dict(self._tree.foreign(main))
        merged = {key: value for key, value in main.items() if key != KEY}
        for key in _KINDS:
            sources = [part.data for part in parts if isinstance(part.data.get(key), _KINDS[key])]
            if sources:
                places.setdefault(key, self._tree.places(sources[0], key))
                sources = [main, *sources] if key in main else sources
                merged[key] = self._joined(key, [source[key] for source in sources])
        flat = array("Q", [place for key in merged for place in places[key]])
        self._tree.add(merged, flat, {key: known for key, known in foreign.items() if key in merged})
        return merged

    def _joined(self, key: str, sources: list[Any]) -> Any:
        """Joins the services or routes of several files."""
        whole = sources[0]
        if not isinstance(whole, _KINDS[key]):
            # The main file has a wrong value here, which the validation reports.
            return whole
        return self._services(sources) if key == "services" else self._routes(sources)

    def _services(self, sources: list[dict[str, Any]]) -> dict[str, Any]:
        joined: dict[str, Any] = {}
        places, foreign = array("Q"), dict[Step, Foreign]()
        first: dict[str, int] = {}
        for source in sources:
            for name, value in source.items():
                at = self._tree.places(source, name)
                if name in joined:
                    hint = f"the other is at {self._shown(first[name])}; rename one of them"
                    file, line, column = self._place(at[0])
                    text = "there is already a service with this name"
                    self._problems.append(Problem(file, line, column, show_path(("services", name)), text, hint))
                    continue
                first[name], joined[name] = at[0], value
                places.extend(at)
                if known := self._tree.foreign(source).get(name):
                    foreign[name] = known
        self._tree.add(joined, places, foreign)
        return joined

    def _routes(self, sources: list[list[Any]]) -> list[Any]:
        joined: list[Any] = []
        places, foreign = array("Q"), dict[Step, Foreign]()
        for source in sources:
            for index, value in enumerate(source):
                if known := self._tree.foreign(source).get(index):
                    foreign[len(joined)] = known
                joined.append(value)
                places.append(self._tree.places(source, index)[1])
        self._tree.add(joined, places, foreign)
        return joined

    def _place(self, place: int) -> tuple[str, int, int]:
        return (self._tree.file_of(place), *line_and_column(place))

    def _shown(self, place: int) -> str:
        return ":".join(map(str, self._place(place)))

    def _at_key(self) -> Node:
        return next(node for key, node in self._tree.root.items() if key == KEY)

    def _complain(self, node: Node, path: Sequence[Step], message: str, hint: str | None = None) -> None:
        self._problems.append(self._problem(node, path, message, hint))

    @staticmethod
    def _problem(node: Node, path: Sequence[Step], message: str, hint: str | None) -> Problem:
        return Problem(node.file, node.line, node.column, show_path(path), message, hint)
