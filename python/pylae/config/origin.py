"""Where the parts of a plan come from.

Most parts of a plan have the same path as in the configuration: they are plain mappings. A part that comes from another
path is a `PlanPart`. It is made where the plan is compiled and carries its `Origin`, so no second list of paths has to
follow each change of the compiler.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pylae.config.document.nodes import Step

_STEP = re.compile(r'\[(\d+)\]|\["([^"]*)"\]|\.?([^.\[]+)')


@dataclass(frozen=True, slots=True)
class Origin:
    """The path in the configuration that a part of the plan comes from, relative to that of what contains the part."""

    path: tuple[Step, ...] = ()
    from_root: bool = False
    """The path begins at the root of the configuration instead."""
    whole: bool = False
    """All entries come from this one setting."""
    entries: Mapping[Step, Origin] = field(default_factory=dict)
    """Entries that come from elsewhere. Their paths are relative as the part's own is."""


class PlanPart(dict[str, Any]):
    """A mapping of the plan that comes from another path of the configuration than its own."""

    __slots__ = ("origin",)

    def __init__(self, value: Mapping[str, Any], origin: Origin) -> None:
        super().__init__(value)
        self.origin = origin


def steps(path: str) -> tuple[Step, ...]:
    """The steps of a path: of `routes[2].match.path`, these are `routes`, 2, `match` and `path`."""
    return tuple(int(part[1]) if part[1] is not None else part[2] or part[3] for part in _STEP.finditer(path))


def origin_of(plan: Mapping[str, Any], path: str) -> tuple[Step, ...]:
    """The path in the configuration that what the plan has at `path` comes from."""
    reached: Any = plan
    # The path in the configuration of what is reached, and of what contains it.
    here: tuple[Step, ...] = ()
    around, whole = here, False
    for step in steps(path):
        part = reached.origin if isinstance(reached, PlanPart) else _PLAIN
        reached = _entry(reached, step)
        if whole:
            continue
        if (origin := part.entries.get(step)) is not None:
            here, around, whole = _from(origin, around), here, origin.whole
        elif part.whole:
            whole = True
        elif isinstance(reached, PlanPart):
            here, around = _from(reached.origin, here), here
        else:
            here, around = (*here, step), here
    return here


_PLAIN = Origin()
"""The origin of what is no `PlanPart`."""


def _from(origin: Origin, around: tuple[Step, ...]) -> tuple[Step, ...]:
    return origin.path if origin.from_root else (*around, *origin.path)


def _entry(reached: Any, step: Step) -> Any:
    """What a mapping or a list has; None where the path leads further than the plan."""
    if isinstance(reached, Mapping):
        return reached.get(step)
    if isinstance(reached, Sequence) and isinstance(step, int) and step < len(reached):
        return reached[step]
    return None
