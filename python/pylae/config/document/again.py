"""Reads a file again of which most is as it was: items of `routes` that did not change are not parsed.

In the text, each run of unchanged items is replaced by one item that stands for it, and by as many empty lines as keep
the lines of the rest. What is read in the place of such an item are the items of the earlier document, with their
places moved. So everything else is read as always, in its own lines.

An item can be recognized by its text because YAML reads it the same wherever it stands in a block list of the same
indentation, as long as nothing in the document refers to anything else in it (`&`, `*`, `<<`), and as long as it begins
in the line of its `-`. Where that is not certain, and where the whole turns out to be wrong, the file is read as if for
the first time.
"""

from __future__ import annotations

import re
import secrets
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from pylae.config.document.nodes import Tree, line_and_column, place

KEY = "routes"
"""The list at the top of a document whose items are recognized."""
# Patterns begin with the end of a line: it is found much faster than the beginning of one.
_LIST = re.compile(rf"\n{KEY}:[ ]*(?:#.*)?(?:\n[ ]*(?:#.*)?)*\n( *)- ")
_BREAKS = ("\r", "\x85", "\u2028", "\u2029")
"""What else ends a line in YAML. Such documents are always read as a whole."""


@dataclass(slots=True)
class Items:
    """The items of a list that was read, and for each of them and the end how far tree and reader were."""

    listed: list[Any]
    added: array[int] = field(default_factory=lambda: array("Q"))
    placed: array[int] = field(default_factory=lambda: array("Q"))
    values: array[int] = field(default_factory=lambda: array("Q"))
    """How many values had been read."""

    def note(self, tree: Tree, values: int) -> None:
        """Notes how far they are before the next item, or after the last."""
        added, placed = tree.end
        self.added.append(added)
        self.placed.append(placed)
        self.values.append(values)

    def take(self, run: Run, tree: Tree, values: int) -> None:
        """Notes the same for unchanged items, before they are added to the tree."""
        added, placed = tree.end
        earlier, first, last = run.earlier.items, run.first, run.last
        for own, theirs, now in (
            (self.added, earlier.added, added),
            (self.placed, earlier.placed, placed),
            (self.values, earlier.values, values),
        ):
            by = now - theirs[first]
            own.extend([one + by for one in theirs[first:last]])


@dataclass(frozen=True, slots=True)
class Earlier:
    """A file as it was read before."""

    text: str | None
    """The text, unless it was divided already."""
    pieces: Pieces | None
    tree: Tree
    items: Items
    number: int
    """The number of the file in the tree."""


class Run(NamedTuple):
    """Unchanged items that follow each other."""

    earlier: Earlier
    first: int
    last: int
    """The index behind the last of them."""
    moved: int
    """What their places change by, without the number of the file."""

    @property
    def values(self) -> int:
        """How many values they are."""
        return self.earlier.items.values[self.last] - self.earlier.items.values[self.first]

    def into(self, tree: Tree, number: int) -> tuple[list[Any], list[int]]:
        """Adds what they contain to another tree, in which the file has this number. Returns them with their places."""
        earlier, items, span = self.earlier, self.earlier.items, slice(self.first, self.last)
        moved = self.moved + place(0, 0, number) - place(0, 0, earlier.number)
        start, end = ((items.added[at], items.placed[at]) for at in (self.first, self.last))
        tree.take(earlier.tree, start, end, moved)
        return items.listed[span], [at + moved for at in earlier.tree.places_in(items.listed)[span]]


class Shortened(NamedTuple):
    """A text in which items stand for runs of unchanged ones, by the text of such an item."""

    text: str
    runs: dict[str, Run]
    pieces: Pieces


def shortened(text: str, earlier: Earlier) -> Shortened | None:
    """Returns a text without the items that have not changed; None if there are none, or it is not certain."""
    old = earlier.pieces if earlier.text is None else _pieces(earlier.text)
    new = _pieces(text)
    if old is None or new is None or old.indentation != new.indentation or not old.are(earlier):
        return None
    runs: dict[str, Run] = {}
    parts = [text[: new.starts[0]]]
    mark, indentation = f"unchanged-{secrets.token_hex(16)}", " " * new.indentation
    known = {piece: index for index, piece in enumerate(old.texts) if "${" not in piece}
    taken: set[int] = set()
    index = 0
    while index < len(new.texts):
        first, start = known.get(new.texts[index]), index
        if first is None or first in taken:
            parts.append(new.texts[index])
            index += 1
            continue
        last = first
        while index < len(new.texts) and known.get(new.texts[index]) == last and last not in taken:
            taken.add(last)
            index, last = index + 1, last + 1
        name = f"{mark}-{len(runs)}"
        runs[name] = Run(earlier, first, last, place(new.lines[start], 0) - place(old.lines[first], 0))
        parts += [indentation, "- ", name, "\n" * (new.lines[index] - new.lines[start])]
    return Shortened("".join([*parts, text[new.starts[-1] :]]), runs, new) if runs else None


@dataclass(frozen=True, slots=True)
class Pieces:
    """The text of a list, by items as far as they can be told by the start of lines."""

    indentation: int
    texts: Sequence[str]
    starts: Sequence[int]
    """Where each begins, and where the last ends."""
    lines: Sequence[int]
    """The lines of these, from 1."""

    def are(self, earlier: Earlier) -> bool:
        """Whether they are the items that were read."""
        listed = earlier.items.listed
        if len(listed) != len(self.texts):
            return False
        places = zip(earlier.tree.places_in(listed), self.lines, strict=False)
        return all(line_and_column(at)[0] == line for at, line in places)


def _pieces(text: str) -> Pieces | None:
    """Divides a text; None if it has no such list, or if it is not clear where."""
    # So that every line is behind the end of one.
    whole = f"\n{text}"
    found = _LIST.search(whole)
    if found is None or whole.count(f"\n{KEY}:") > 1 or any(letter in text for letter in _BREAKS):
        return None
    spaces, begin = found[1], found.start(1) - 1
    outside = rf"\n {{0,{len(spaces) - 1}}}[^ #\n]|" if spaces else ""
    behind = re.compile(rf"{outside}\n{spaces}(?!- |-\n)[^ #\n]").search(whole, begin)
    end = len(text) if behind is None else behind.start()
    # Positions behind a line's end in the one are those of its start in the other.
    starts = [*(match.start() for match in re.compile(rf"\n{spaces}- ").finditer(whole, begin, end)), end]
    texts = [text[one:other] for one, other in pairwise(starts)]
    first = text.count("\n", 0, starts[0]) + 1
    lines = list(accumulate((piece.count("\n") for piece in texts), initial=first))
    return Pieces(len(spaces), texts, starts, lines)
