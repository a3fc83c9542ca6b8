"""A secret that is shown once."""

from __future__ import annotations

import json

from nicegui import ui

from pylae.dashboard.dialogs import dialog


async def show_once(title: str, secret: str, hint: str) -> None:
    """Shows a secret until the reader closes it. It is kept nowhere."""
    with dialog(title, wide=True, persistent=True) as asked:
        ui.label("It is shown only now. Nobody can look it up later.").classes("warn")
        ui.label(secret).classes("mono secret")
        ui.label(hint).classes("faint")
        with ui.row().classes("w-full justify-end"):
            copy = f"() => navigator.clipboard?.writeText({json.dumps(secret)})"
            ui.button("Copy").props("flat no-caps").on("click", js_handler=copy)
            ui.button("I have it", on_click=asked.close).props("no-caps autofocus")
    await asked
    # So that it does not stay in a page that is left open.
    asked.delete()
