"""Dialogs, which have a name for people who hear them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nicegui import ui


@contextmanager
def dialog(title: str, *, wide: bool = False, persistent: bool = False) -> Iterator[ui.dialog]:
    """Builds a dialog with a title; what is built inside is in it. A `persistent` one ends by its own buttons only."""
    with ui.dialog().props("persistent" if persistent else "") as found, ui.card().classes("wide" if wide else ""):
        # Not in a text of props, where a quotation mark would end it.
        found.props["aria-label"] = title
        ui.label(title).classes("question").props("role=heading aria-level=2")
        yield found
