"""A difference between two configurations, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from pylae.dashboard import shown
from pylae.dashboard.configuration import values
from pylae.dashboard.table import Column, Table


def show(changes: Sequence[dict[str, Any]], count: int | None = None, *, before: str, after: str) -> None:
    """Builds the table. `before` and `after` are headings; `count` is how many changes there are in all."""
    total = len(changes) if count is None else count
    if total > len(changes):
        ui.label(f"The first {len(changes)} of {shown.count(total, 'change')}:").classes("faint")
    table = Table(
        (
            Column("path", "Setting", "mono"),
            Column("before", before, "mono", values.value),
            Column("after", after, "mono", values.value),
        ),
        key="id",
        empty="There is no difference.",
        label="Changes",
    )
    table.rows = [{"id": str(index), **change} for index, change in enumerate(changes)]


def reversed_(changes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same changes, from what they led to back to where they began."""
    return [{**change, "before": change["after"], "after": change["before"]} for change in changes]
