"""Reads one YAML text into nodes, within limits, and fills in values from the environment and from files.

Scalars follow the core schema of YAML 1.2 (section 10.3.2): `yes`, `no`, `on` and `1:30` are texts.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml

from pylae import _native
from pylae.config.document.again import KEY, Items, Run
from pylae.config.document.files import MAX_SECRET_BYTES, read_bytes, reason
from pylae.config.document.nodes import PART, Foreign, Step, Tree, line_and_column, show_path
from pylae.errors import ConfigError, Problem

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_DEPTH = 50
"""Deepest nesting."""
MAX_VALUES = 400_000
"""Most values, mappings and lists. In memory, each takes far more than the two bytes of a `0,` in the file."""
MAX_PROBLEMS = 1000
"""Most problems that are reported. More of them usually have one common cause."""
MAX_ALIASED = 100_000
"""Most nodes that aliases and merges may add."""

_INT = re.compile(r"[-+]?[0-9]{1,30}")
_BASED = re.compile(r"0o[0-7]{1,30}|0x[0-9a-fA-F]{1,30}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,5})?")
_WORDS = {word: value for name, value in (("true", True), ("false", False), ("null", None))
          for word in (name, name.capitalize(), name.upper())} | {"~": None}  # fmt: skip
_NO_TEXT = "-+.0123456789tTfFnN~"
"""How anything begins that is no text."""
_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_ENVIRONMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)

Refusal = Callable[[str], tuple[str, str | None] | None]
"""Returns message and hint if a text is not allowed in `${…}`; None if it is."""

_UNKNOWN: Any = object()


class _Written(NamedTuple):
    """A text with references, in the form of an event."""

    value: str
    start_mark: _Mark
    end_mark: _Mark


@dataclass(frozen=True, slots=True)
class _Mark:
    """A place as the parser counts: from 0."""

    line: int
    column: int
    index: int


class _Value(NamedTuple):
    """A value that was read, and where it begins."""

    data: Any
    place: int
    foreign: Foreign | None = None


@dataclass
class Reader:
    """One pass over the parser's events. `MAX_DEPTH` bounds the recursion."""

    text: str
    file: str
    environ: Mapping[str, str]
    files: dict[Path, str | None]
    refusal: Refusal
    folder: Path
    """The folder that file names are relative to."""
    problems: list[Problem] = field(default_factory=list)
    tree: Tree = field(default_factory=Tree)
    anchors: dict[str, tuple[_Value, int] | None] = field(default_factory=dict)
    """The value at each anchor, and how many values it contains."""
    keys: dict[str, str] = field(default_factory=dict)
    """Every key once, because keys repeat."""
    runs: dict[str, Run] = field(default_factory=dict)
    """Unchanged items of an earlier document, by the text that stands for them."""
    items: Items | None = None
    """The items of `KEY`."""
    refers: bool = False
    """Whether something in the file refers to something else in it."""
    plain: dict[str, Any] = field(default_factory=dict)
    """The plain texts, each once."""
    interpolated: bool = False
    """Whether the latest text contained a reference."""
    number: int = 0
    """The number of the file, for places."""
    base: int = 0
    """The part of a place that says the file."""
    values: int = 0
    aliased: int = 0
    path: list[Step] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether it has read more values than a configuration may have."""
        return self.values > MAX_VALUES

    def document(self) -> Tree:
        """Reads the text into `tree`. Raises ConfigError and YAMLError, and notes other problems in `problems`."""
        return self.natively() or self.from_events()

    def natively(self) -> Tree | None:
        """Reads the text in one call; None if something in it is special, which `from_events` reads or reports."""
        if self.runs:
            return None
        start = self.base, *self.tree.end, self.values
        found = _native.read_document(self.text, start, (MAX_DEPTH, MAX_VALUES), KEY, core_scalar)
        if found is None:
            return None
        data, at, added, places, self.values, noted, references = found
        self.tree.extend(added, places)
        self.tree.begin(data, at)
        if noted is not None:
            listed, reached = noted
            self.items = Items(listed, *(array("Q", numbers) for numbers in reached))
        for inside, step, path, written, (line, column, first, last) in references:
            self.path, self.interpolated = path, False
            event = _Written(written, _Mark(line - 1, column - 1, first), _Mark(line - 1, column - 1, last))
            inside[step] = self.interpolate(event)
            self.tree.refer(inside, step, Foreign(written, self.interpolated))
        self.path = []
        return self.tree

    def from_events(self) -> Tree:
        """Reads the text event by event."""
        # Not `yaml.parse`, which asks twice for each event.
        self.event = _LOADER(self.text).get_event
        self.event()
        event = self.event()
        if isinstance(event, yaml.StreamEndEvent):
            self.stop(event, "the file is empty")
        root = self.value(self.event(), 0)
        self.tree.begin(root.data, root.place)
        self.event()
        event = self.event()
        if not isinstance(event, yaml.StreamEndEvent):
            self.stop(event, "a configuration must be a single YAML document; a second one begins here")
        if not isinstance(root.data, dict):
            found = "a list" if isinstance(root.data, list) else "a text"
            self.report(root.place, f"a configuration must be a mapping, not {found}")
        return self.tree

    def report(self, at: int | yaml.Event, message: str, hint: str | None = None) -> None:
        line, column = line_and_column(at if isinstance(at, int) else self.place(at))
        self.problems.append(Problem(self.file, line, column, show_path(self.path), message, hint))
        if len(self.problems) >= MAX_PROBLEMS:
            raise ConfigError(self.problems, self.files)

    def stop(self, at: yaml.Event, message: str, hint: str | None = None) -> NoReturn:
        self.report(at, message, hint)
        raise ConfigError(self.problems, self.files)

    def value(self, event: Any, depth: int) -> _Value:
        if depth > MAX_DEPTH:
            self.stop(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        self.values += 1
        if self.values > MAX_VALUES:
            self.stop(event, f"more than {MAX_VALUES:,} values", "lists of instances can come from `discovery`")
        if event.tag is not None:
            self.report(event, "tags are not supported", "for a text, put quotes around the value")
        before = self.values + self.aliased
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            found = self.scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            found = self.sequence(event, depth)
        else:
            found = self.mapping(event, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = found, 1 + self.values + self.aliased - before
        return found

    def child(self, step: Step, event: Any, depth: int) -> _Value:
        self.path.append(step)
        found = self.value(event, depth + 1)
        self.path.pop()
        return found

    def common(self, event: Any) -> Any:
        """Returns what a scalar stands for if nothing about it is special, as with most; otherwise `_UNKNOWN`."""
        if event.anchor is not None or event.tag is not None or self.values >= MAX_VALUES:
            return _UNKNOWN
        text = event.value
        if not event.implicit[0]:
            found = text
        elif (found := self.plain.get(text, _UNKNOWN)) is _UNKNOWN and text:
            found = core_scalar(text)
        if found is text:
            if "${" in text:
                return _UNKNOWN
            # Kept once, because many repeat.
            found = self.plain.setdefault(text, text) if event.implicit[0] else text
        if found is not _UNKNOWN:
            self.values += 1
        return found

    def alias(self, event: yaml.AliasEvent) -> _Value:
        if event.anchor not in self.anchors:
            self.stop(event, f"unknown alias *{event.anchor}", f"define it before this line, with &{event.anchor}")
        anchored = self.anchors[event.anchor]
        if anchored is None:
            self.stop(event, f"the alias *{event.anchor} is inside its own anchor, which makes a cycle")
        found, size = anchored
        self.aliased += size
        if self.aliased > MAX_ALIASED:
            self.stop(event, f"aliases add more than {MAX_ALIASED} values")
        return found

    def sequence(self, start: Any, depth: int) -> _Value:
        items: list[Any] = []
        places = array("Q")
        foreign: dict[Step, Foreign] = {}
        inside, common = depth < MAX_DEPTH, self.common
        noted = Items(items) if depth == 1 and self.path == [KEY] else None
        while (kind := type(event := self.event())) is not yaml.SequenceEndEvent:
            if noted is not None:
                if kind is yaml.ScalarEvent and (run := self.runs.pop(event.value, None)) is not None:
                    noted.take(run, self.tree, self.values)
                    self.values += run.values
                    found, at_each = run.into(self.tree, self.number)
                    items += found
                    places.extend(at_each)
                    continue
                noted.note(self.tree, self.values)
            if kind is yaml.ScalarEvent and inside and (data := common(event)) is not _UNKNOWN:
                places.append(self.place(event))
            else:
                data, at, known = self.child(len(items), event, depth)
                places.append(at)
                if known is not None:
                    foreign[len(items)] = known
            items.append(data)
        if noted is not None:
            noted.note(self.tree, self.values)
            self.items = noted
        self.tree.add(items, places, foreign)
        return _Value(items, self.place(start))

    def mapping(self, start: Any, depth: int) -> _Value:
        entries: dict[str, Any] = {}
        places = array("Q")
        foreign: dict[Step, Foreign] = {}
        merged: list[tuple[Any, Any]] = []
        # Most of the time of reading goes by here, so what most entries need is bound once.
        inside, common, place_of, note, keys = depth < MAX_DEPTH, self.common, self.place, places.append, self.keys
        take, scalar = self.event, yaml.ScalarEvent
        while (kind := type(key_event := take())) is not yaml.MappingEndEvent:
            if kind is not scalar:
                self.stop(key_event, "a key must be a text", 'put quotes around it: "*name", "{…}"')
            key = key_event.value
            key = keys.setdefault(key, key)
            event = take()
            if type(event) is scalar and inside and (data := common(event)) is not _UNKNOWN:
                at, known = place_of(event), None
            else:
                data, at, known = self.child(key, event, depth)
            if key == "<<" and key_event.implicit[0]:
                self.refers = True
                merged.append((key_event, data))
            elif key in entries:
                first = places[2 * list(entries).index(key)]
                hint = f"the first is in line {line_and_column(first)[0]}"
                self.report(key_event, f"the key `{key}` is given twice in this mapping", hint)
            else:
                entries[key] = data
                note(place_of(key_event))
                note(at)
                if known is not None:
                    foreign[key] = known
        for event, source in merged:
            self.merge(event, entries, source, places, foreign)
        self.tree.add(entries, places, foreign)
        return _Value(entries, self.place(start))

    def merge(
        self, event: Any, entries: dict[str, Any], source: Any, places: array[int], foreign: dict[Step, Foreign]
    ) -> None:
        """Merges `<<: *name`: adds the keys of the source that the mapping does not have itself."""
        for mapping in source if isinstance(source, list) else [source]:
            if not isinstance(mapping, dict):
                self.report(event, "`<<` takes a mapping or a list of mappings")
                continue
            for key, value in mapping.items():
                if key not in entries:
                    entries[key] = value
                    places.extend(self.tree.places(mapping, key))
                    if known := self.tree.foreign(mapping).get(key):
                        foreign[key] = known

    def scalar(self, event: yaml.ScalarEvent) -> _Value:
        text: str = event.value
        if "${" in text:
            self.interpolated = False
            return _Value(self.interpolate(event), self.place(event), Foreign(text, self.interpolated))
        if not event.implicit[0]:
            return _Value(text, self.place(event))
        if not text:
            self.report(event, "the value is missing", "write {} or [] for an empty one, null for no value")
        return _Value(core_scalar(text), self.place(event))

    def place(self, event: Any) -> int:
        """Returns the place of an event, as `pylae.config.document.nodes.place`."""
        mark = event.start_mark
        line: int = mark.line + 1
        column: int = mark.column + 1
        return self.base + (line << PART) + column

    def interpolate(self, event: Any) -> str:
        at, end = event.start_mark.index, event.end_mark.index

        def fill(match: re.Match[str]) -> str:
            nonlocal at
            found = self.text.find(match[0], at, end)
            at = found + 1 if found >= 0 else at
            if match[0] == "$${":
                return "${"
            self.interpolated = True
            return self.reference(match[1], lambda: self.place_at(found, event))

        return _REFERENCE.sub(fill, event.value)

    def place_at(self, index: int, event: Any) -> tuple[int, int]:
        if index < 0:
            return event.start_mark.line + 1, event.start_mark.column + 1
        return self.text.count("\n", 0, index) + 1, index - self.text.rfind("\n", 0, index)

    def reference(self, inside: str | None, at: Callable[[], tuple[int, int]]) -> str:
        def refuse(message: str, hint: str | None = None) -> str:
            self.problems.append(Problem(self.file, *at(), show_path(self.path), message, hint))
            return ""

        if inside is None:
            return refuse("`${` without `}`", "write $${ for the text ${")
        if refused := self.refusal(inside):
            return refuse(*refused)
        if inside.startswith("file:"):
            return self.file_text(inside.removeprefix("file:").strip(), refuse)
        match = _ENVIRONMENT.fullmatch(inside)
        if match is None:
            return refuse("not a reference", "write ${NAME}, ${NAME:-default} or ${file:path}; $${ for the text ${")
        name, default = match[1], match[2]
        value = self.environ.get(name)
        # As in a shell, `:-` also applies to an empty variable.
        if default is not None:
            return value or default
        if value is None:
            return refuse(f"the environment variable {name} is not set", f"set it, or write ${{{name}:-default}}")
        return value

    def file_text(self, name: str, refuse: Callable[[str, str | None], str]) -> str:
        try:
            # Editors end files with a newline, which is not part of the secret.
            data = read_bytes(self.folder / name, MAX_SECRET_BYTES, self.files)
            return data.decode().removesuffix("\n").removesuffix("\r")
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else "not a path or not UTF-8"
            return refuse(f"the file {name} cannot be read: {why}", None)


def referred(written: str) -> Iterator[str]:
    """Yields the contents of the `${…}` in a text."""
    return (match[1] for match in _REFERENCE.finditer(written) if match[1] is not None)


def core_scalar(text: str) -> Any:
    """Parses a plain scalar by YAML 1.2's core schema. Anything but a number, truth value or null is a text."""
    if text[:1] not in _NO_TEXT:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
