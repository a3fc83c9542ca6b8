"""The configuration in force: what it says, and where in the file each setting was written."""

from __future__ import annotations

from typing import Any

from nicegui import events, ui

from pylae.dashboard import shown
from pylae.dashboard.client import RefusedError, UnreachableError
from pylae.dashboard.configuration import values
from pylae.dashboard.nodes import Node
from pylae.dashboard.table import Column, Table
from pylae.dashboard.view import View

_MOST = 1000
_COLUMNS = (
    Column("path", "Setting", "mono"),
    Column("name", "Belongs to"),
    Column("value", "Value", "mono", values.value),
    Column("place", "Written at", "mono"),
)


async def show(view: View, node: Node) -> None:
    """Builds this part of the page. `search` in its address is searched for."""
    about = ui.label("").classes("faint")
    wanted = {"text": view.query.get("search", ""), "revision": ""}
    with ui.element("div").classes("bar"):
        field = ui.input("Search in settings, names and values", value=wanted["text"])
        field.props('type=search dense outlined clearable debounce=300 style="min-width: 340px"')
    said = ui.label("").classes("faint").props("role=status")
    table = Table(_COLUMNS, key="path", empty="No setting matches.", label="Settings", size=50)

    async def look() -> None:
        text = wanted["text"]
        query = {"search": text[:200], "most": str(_MOST)}
        try:
            found = await view.ask(node, "/config/settings", query=query)
        except (RefusedError, UnreachableError) as error:
            said.set_text(f"{node.name}: {error}")
            return
        # Somebody may have typed on while the gateway was asked.
        if text == wanted["text"]:
            wanted["revision"] = found["revision"]
            table.rows = [_row(setting) for setting in found["settings"]]
            more = f"the first {shown.count(_MOST, 'setting')}; search for fewer" if found["more"] else ""
            said.set_text(more or shown.count(len(found["settings"]), "setting"))

    async def searched(event: events.ValueChangeEventArguments[Any]) -> None:
        wanted["text"] = str(event.value or "").strip()
        await look()

    def update() -> None:
        status = node.value("status")
        if status is None:
            return
        origin = "applied over the admin API, in the place of" if status["overridden"] else "from"
        about.set_text(f"Revision {status['revision']}, {origin} {status['source']}")
        if status["revision"] != wanted["revision"] and wanted["revision"]:
            wanted["revision"] = status["revision"]
            ui.timer(0, look, once=True)

    field.on_value_change(searched)
    await view.follow((), update)
    await look()


def _row(setting: dict[str, Any]) -> dict[str, Any]:
    place = values.place(setting) or "over the admin API"
    return {"path": setting["path"], "name": setting["name"], "value": setting["value"], "place": place}
