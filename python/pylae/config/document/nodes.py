"""A YAML document as plain mappings, lists and values, and where each of them stands."""

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
"""Second names of keys, for people who know them from elsewhere."""
_NAMES = {name: tuple(alias for alias, field in ALIASES.items() if field == name) for name in ALIASES.values()}
_PART = 26
"""Bits of a place that hold the column, and as many the line, of a file of at most 2**25 bytes; above is the file."""
_PART_MASK = (1 << _PART) - 1


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
    """What is to be known about a text that is not simply what stands in the document.

    `written` is what stands there, None for a mark that was replaced by its secret. `interpolated` says that the value
    is from outside and must not be shown.
    """

    written: str | None
    interpolated: bool


def place(line: int, column: int, file: int = 0) -> int:
    """A line and a column, from 1, and the number of a file, in one number: documents have hundreds of thousands."""
    return (file << _PART | line) << _PART | column


def line_and_column(place: int) -> tuple[int, int]:
    """The line and the column of a place."""
    return place >> _PART & _PART_MASK, place & _PART_MASK


class Tree:
    """A document: `data` is what it says; beside it, for each mapping and list, the places of what is in it.

    Nothing is kept for a single value but its place in 8 bytes, and its key's.
    """

    __slots__ = ("_added", "_foreign", "_orders", "_places", "_root", "_starts", "data", "files")

    def __init__(self) -> None:
        self.data: Any = None
        self.files: list[str] = []
        """The files that it is made of, by their numbers in places."""
        self._root = place(1, 1)
        self._places = array("Q")
        # By the `id` of mappings and lists, all of which are in `data` and stay there. As pairs of `id` and start until
        # somebody asks, which nobody does of most documents.
        self._added = array("Q")
        self._starts: dict[int, int] = {}
        self._foreign: dict[int, dict[Step, Foreign]] = {}
        self._orders: dict[int, dict[Step, int]] = {}

    def begin(self, data: Any, root: int) -> None:
        """Sets what the document says, and where that begins."""
        self.data, self._root = data, root

    def add(self, inside: Any, places: array[int], foreign: dict[Step, Foreign]) -> None:
        """Notes the places in a mapping, of each key and then its value, or in a list."""
        # A mapping that was only merged is gone, and another may have its `id`.
        self._foreign.pop(id(inside), None)
        self._orders.pop(id(inside), None)
        self._added.extend((id(inside), len(self._places)))
        self._places.extend(places)
        if foreign:
            self._foreign[id(inside)] = foreign

    def plain(self) -> Any:
        """What the document says as plain Python objects, which are not to be changed."""
        return self.data

    def foreign(self, inside: Any) -> Mapping[Step, Foreign]:
        """What there is to know about the texts in a mapping or list."""
        return self._foreign.get(id(inside), {})

    def reveal(self, inside: Any, step: Step, secret: object) -> None:
        """Puts a secret in the place of a mark."""
        inside[step] = secret
        self._foreign.setdefault(id(inside), {})[step] = Foreign(None, True)

    def file_of(self, place: int) -> str:
        """The file of a place."""
        return self.files[place >> 2 * _PART]

    def places(self, inside: Any, step: Step) -> tuple[int, int]:
        """The places of a key and of its value; in a list both are the item's."""
        if self._added:
            # A later one with the same `id` counts.
            self._starts.update(zip(self._added[::2], self._added[1::2], strict=True))
            del self._added[:]
        start = self._starts[id(inside)]
        if isinstance(step, int):
            return self._places[start + step], self._places[start + step]
        order = self._orders.get(id(inside))
        if order is None:
            order = self._orders[id(inside)] = {key: index for index, key in enumerate(inside)}
        at = start + 2 * order[step]
        return self._places[at], self._places[at + 1]

    @property
    def root(self) -> Node:
        """The document as a whole."""
        return Node(self, None, "", self._root)


class Node:
    """A value of a document and its place."""

    __slots__ = ("_at", "_tree", "inside", "step")

    def __init__(self, tree: Tree, inside: Any, step: Step, at: int) -> None:
        self._tree, self.inside, self.step, self._at = tree, inside, step, at

    @property
    def at(self) -> int:
        """Its place, as `place`."""
        return self._at

    @property
    def file(self) -> str:
        """The file that it stands in."""
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
        """Whether the value is from outside and must not be shown."""
        found = self._foreign
        return found is not None and found.interpolated

    @property
    def written(self) -> str | None:
        """What stands in the file, where that is not the value."""
        found = self._foreign
        return found.written if found is not None else None

    @property
    def _foreign(self) -> Foreign | None:
        return None if self.inside is None else self._tree.foreign(self.inside).get(self.step)

    def items(self) -> Iterator[tuple[Step, Node]]:
        """What is in a mapping or list; nothing in a scalar."""
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
    """Walks down as far as the document goes.

    Steps that the document lacks are skipped, because short forms leave levels out: in `rate_limit: {limit: 5}` the
    model's path `rate_limit.limits[0].limit` is `rate_limit.limit`.
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
    """`routes[2].rate_limit`; a name that contains a dot is quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f'["{step}"]' if "." in step or "[" in step else f".{step}" if text else step
    return text
