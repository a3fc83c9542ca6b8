"""A YAML document as a tree that remembers where everything stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pylae.settings import ALIASES

Step = str | int

_NAMES = {name: tuple(alias for alias, field in ALIASES.items() if field == name) for name in ALIASES.values()}


@dataclass(frozen=True)
class Finding:
    """A problem at a path of the model."""

    path: tuple[Step, ...]
    message: str
    hint: str | None = None


@dataclass(slots=True, eq=False)
class Node:
    """A value and its place. `value` is a scalar, a list of nodes, or a dict of nodes.

    `keys` has the places of a dict's keys. `interpolated` says that the value is from outside and must not be shown;
    `written` is then what stands in the file.
    """

    line: int
    column: int
    value: Any
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    interpolated: bool = False
    written: str | None = None

    def plain(self) -> Any:
        """The value as plain Python objects."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


@dataclass(frozen=True, slots=True)
class Found:
    """The node nearest to a path, and the part of the path that exists in the document."""

    node: Node
    path: tuple[Step, ...]
    key: tuple[int, int] | None


def find(root: Node, path: Sequence[Step]) -> Found:
    """Walks down as far as the document goes.

    Steps that the document lacks are skipped, because short forms leave levels out: in `rate_limit: {limit: 5}` the
    model's path `rate_limit.limits[0].limit` is `rate_limit.limit`.
    """
    found = Found(root, (), None)
    for step in path:
        value = found.node.value
        if isinstance(step, int):
            if isinstance(value, list) and step < len(value):
                found = Found(value[step], (*found.path, step), None)
        elif isinstance(value, dict):
            name = next((name for name in (step, *_NAMES.get(step, ())) if name in value), None)
            if name is not None:
                found = Found(value[name], (*found.path, name), found.node.keys[name])
    return found


def show_path(path: Sequence[Step]) -> str:
    """`routes[2].rate_limit`; a name that contains a dot is quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f'["{step}"]' if "." in step or "[" in step else f".{step}" if text else step
    return text
