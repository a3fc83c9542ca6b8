"""Text in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Returns the lines of a table without borders. Columns that are empty in all rows are left out."""
    kept = [index for index in range(len(header)) if any(row[index] for row in rows)] or list(range(len(header)))
    widths = {index: max(len(row[index]) for row in (header, *rows)) for index in kept}

    def line(row: Sequence[str]) -> str:
        return "  ".join(row[index].ljust(widths[index]) for index in kept).rstrip()

    yield click.style(line(header), bold=True)
    yield from map(line, rows)
