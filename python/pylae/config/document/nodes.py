"""A YAML document as plain mappings, lists and values, with their places."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Step = str | int

ALIASES = {
    "hosts": "host",
    "methods": "method",
    "retry_count": "retries",
    "service_name": "service",
}
"""Second names of keys, for people who know them from other gateways."""
_NAMES = {name: tuple(alias for alias, field in ALIASES.items() if field == name) for name in ALIASES.values()}
PART = 26
"""Bits of a place that hold the column. As many hold the line, for files of at most 2**25 bytes; above is the file."""
_MASK = (1 << PART) - 1


@dataclass(frozen=True)
class Finding:
    """A problem at a path of the model."""

    path: tuple[Step, ...]
    message: str
    hint: str | None = None

    def below(self, path: tuple[Step, ...]) -> Finding:
        """The same of what stands at `path`."""
        return Finding((*path, *self.path), self.message, self.hint)


class Foreign(NamedTuple):
    """What is special about a text of a document.

    Attributes:
        written: The text as written; None for a mark that was replaced by its secret.
        interpolated: Whether the value comes from outside the document and must not be shown.
    """

    written: str | None
    interpolated: bool


def place(line: int, column: int, file: int = 0) -> int:
    """Packs the number of a file, a line and a column (both from 1) into one number, because documents have many of
    them.
    """
    return (file << PART | line) << PART | column


def line_and_column(place: int) -> tuple[int, int]:
    """Returns the line and column of a place."""
    return place >> PART & _MASK, place & _MASK


class Tree:
    """A document: `data` is its content. For each mapping and list, the tree keeps the places of the entries.

    An entry takes 8 bytes, plus 8 for its key.
    """

    __slots__ = ("_added", "_foreign", "_known", "_orders", "_places", "_root", "_starts", "data", "files")

    def __init__(self) -> None:
        self.data: Any = None
        self.files: list[str] = []
        """The files of the document, by their numbers in places."""
        self._root = place(1, 1)
        self._places = array("Q")
        # Pairs of the `id` of a mapping or list, all of which stay in `data`, and the start of its places.
        self._added = array("Q")
        # The same as a mapping, made when someone asks for a place, which happens for few documents.
        self._starts: dict[int, int] = {}
        self._known = 0
        self._foreign: dict[int, dict[Step, Foreign]] = {}
        self._orders: dict[int, dict[Step, int]] = {}

    def begin(self, data: Any, root: int) -> None:
        """Sets the content of the document, and where it begins."""
        self.data, self._root = data, root

    def add(self, inside: Any, places: array[int], foreign: dict[Step, Foreign]) -> None:
        """Notes the places of the entries of a list, or of the keys and values of a mapping."""
        name = id(inside)
        # A mapping that was only merged no longer exists, and another may have its `id`.
        self._foreign.pop(name, None)
        self._orders.pop(name, None)
        self._added.append(name)
        self._added.append(len(self._places))
        self._places.extend(places)
        if foreign:
            self._foreign[name] = foreign

    def extend(self, added: bytes, places: bytes) -> None:
        """Adds what was read natively, with starts behind the places that are there."""
        start = len(self._added)
        self._added.frombytes(added)
        if self._foreign or self._orders:
            for name in self._added[start::2]:
                # As in `add`.
                self._foreign.pop(name, None)
                self._orders.pop(name, None)
        self._places.frombytes(places)

    def refer(self, inside: Any, step: Step, foreign: Foreign) -> None:
        """Notes what is special about a text."""
        self._foreign.setdefault(id(inside), {})[step] = foreign

    def mentions(self, text: str) -> bool:
        """Whether this is written in any text that is special."""
        known = (foreign for inside in self._foreign.values() for foreign in inside.values())
        return any(text in (foreign.written or "") for foreign in known)

    @property
    def end(self) -> tuple[int, int]:
        """How far it is filled; see `take`."""
        return len(self._added), len(self._places)

    def take(self, other: Tree, start: tuple[int, int], end: tuple[int, int], moved: int) -> None:
        """Takes over what was added to another tree between two of its ends, without anything foreign.

        `moved` is what is added to the places: lines, and numbers of files.
        """
        (first, place), (last, final) = start, end
        by = len(self._places) - place
        added = other._added[first:last]
        if by:
            added[1::2] = array("Q", [start + by for start in added[1::2]])
        self._added.extend(added)
        places = other._places[place:final]
        self._places.extend(array("Q", [place + moved for place in places]) if moved else places)

    def places_in(self, listed: list[Any]) -> array[int]:
        """Returns the places of the items of a list."""
        start = self._start(listed)
        return self._places[start : start + len(listed)]

    def plain(self) -> Any:
        """Returns the content as plain Python objects. Do not change them."""
        return self.data

    def foreign(self, inside: Any) -> Mapping[Step, Foreign]:
        """Returns what is special about the texts in a mapping or list."""
        return self._foreign.get(id(inside), {})

    @property
    def has_foreign(self) -> bool:
        """Whether there is something special about any text."""
        return bool(self._foreign)

    def reveal(self, inside: Any, step: Step, secret: object) -> None:
        """Replaces a mark by its secret."""
        inside[step] = secret
        self.refer(inside, step, Foreign(None, True))

    def file_of(self, place: int) -> str:
        """Returns the file of a place."""
        return self.files[place >> 2 * PART]

    def places(self, inside: Any, step: Step) -> tuple[int, int]:
        """Returns the places of a key and of its value. In a list both are the item's."""
        start = self._start(inside)
        if isinstance(step, int):
            return self._places[start + step], self._places[start + step]
        order = self._orders.get(id(inside))
        if order is None:
            order = self._orders[id(inside)] = {key: index for index, key in enumerate(inside)}
        at = start + 2 * order[step]
        return self._places[at], self._places[at + 1]

    def _start(self, inside: Any) -> int:
        if self._known < len(self._added):
            # A later entry with the same `id` replaces an earlier one.
            added = self._added[self._known :]
            self._starts.update(zip(added[::2], added[1::2], strict=True))
            self._known = len(self._added)
        return self._starts[id(inside)]

    @property
    def root(self) -> Node:
        """The node of the whole document."""
        return Node(self, None, "", self._root)


class Node:
    """A value of a document, with its place."""

    __slots__ = ("_at", "_tree", "inside", "step")

    def __init__(self, tree: Tree, inside: Any, step: Step, at: int) -> None:
        self._tree, self.inside, self.step, self._at = tree, inside, step, at

    @property
    def at(self) -> int:
        """Its place, as a packed number (`place`)."""
        return self._at

    @property
    def file(self) -> str:
        """The file that contains it."""
        return self._tree.file_of(self._at)

    @property
    def line(self) -> int:
        """Line, from 1."""
        return line_and_column(self._at)[0]

    @property
    def column(self) -> int:
        """Column, from 1."""
        return line_and_column(self._at)[1]

    @property
    def value(self) -> Any:
        """A scalar, list or mapping."""
        return self._tree.data if self.inside is None else self.inside[self.step]

    @property
    def interpolated(self) -> bool:
        """Whether the value comes from outside the document and must not be shown."""
        found = self._foreign
        return found is not None and found.interpolated

    @property
    def written(self) -> str | None:
        """The text in the file, if it differs from the value."""
        found = self._foreign
        return found.written if found is not None else None

    @property
    def _foreign(self) -> Foreign | None:
        return None if self.inside is None else self._tree.foreign(self.inside).get(self.step)

    def items(self) -> Iterator[tuple[Step, Node]]:
        """Yields the entries of a mapping or list; none for a scalar."""
        value = self.value
        for step in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            yield step, Node(self._tree, value, step, self._tree.places(value, step)[1])


@dataclass(frozen=True, slots=True)
class Found:
    """The node nearest to a path, and the part of the path that exists in the document."""

    node: Node
    path: tuple[Step, ...]
    key: tuple[int, int] | None


def find(tree: Tree, path: Sequence[Step]) -> Found:
    """Follows a path as far as the document has it.

    Steps that the document lacks are skipped, because short forms omit levels: in `rate_limit: {limit: 5}`, the model's
    path `rate_limit.limits[0].limit` is `rate_limit.limit`.
    """
    inside, last, value, taken = None, None, tree.data, []
    for step in path:
        name: Step | None = None
        if isinstance(step, int):
            name = step if isinstance(value, list) and step < len(value) else None
        elif isinstance(value, dict):
            name = next((name for name in (step, *_NAMES.get(step, ())) if name in value), None)
        if name is not None:
            inside, last, value = value, name, value[name]
            taken.append(name)
    if last is None:
        return Found(tree.root, (), None)
    key, at = tree.places(inside, last)
    node = Node(tree, inside, last, at)
    return Found(node, tuple(taken), line_and_column(key) if isinstance(last, str) else None)


def show_path(path: Sequence[Step]) -> str:
    """Returns a path as text, such as `routes[2].rate_limit`. Names that contain a dot are quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f'["{step}"]' if "." in step or "[" in step else f".{step}" if text else step
    return text
