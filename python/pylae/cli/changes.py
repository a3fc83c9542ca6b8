"""Differences between two configurations, as lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

_SHORT = 60
"""Characters of a summary."""


def lines(changes: Sequence[Mapping[str, Any]], count: int | None) -> Iterator[str]:
    """Returns a line for each difference of an answer of the admin API, and one for those that it leaves out."""
    for one in changes:
        before, after = (_value(one[side], cut=one["cut"]) for side in ("before", "after"))
        if one["before"] is None:
            yield click.style(f"+ {clean(one['path'])}: {after}", fg="green")
        elif one["after"] is None:
            yield click.style(f"- {clean(one['path'])}: {before}", fg="red")
        else:
            yield f"  {clean(one['path'])}: {before} -> {after}"
    if count is None:
        yield "what differs from the entry before is not known, because that one is damaged"
    elif count > len(changes):
        yield f"  and {count - len(changes)} more"
    elif not count:
        yield "no setting differs"


def summary(changes: Sequence[Mapping[str, Any]], count: int | None) -> str:
    """Returns what has changed, in a few words."""
    if count is None:
        return "not known"
    if not changes:
        return "nothing"
    first = clean(changes[0]["path"])
    first = first if len(first) <= _SHORT else f"{first[:_SHORT]}…"
    return first if count == 1 else f"{first} and {count - 1} more"


def clean(text: str) -> str:
    """Returns a text that a terminal shows as it is."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _value(value: Any, *, cut: bool) -> str:
    # A text may be the beginning of anything.
    return clean(value if cut and isinstance(value, str) else json.dumps(value, ensure_ascii=False))
