"""The configuration of a gateway: what is in force, its editor, and its history."""

from __future__ import annotations

from nicegui import ui

from pylae.dashboard.configuration import editor, past, running
from pylae.dashboard.single import address, one_gateway
from pylae.dashboard.view import View

PATH = "/configuration"
_PARTS = {"running": ("Running", running.show), "edit": ("Edit", editor.show), "history": ("History", past.show)}


async def show(view: View) -> None:
    """Builds the page. `tab` in its address says which part of it."""
    node = one_gateway(view, PATH)
    wanted = view.query.get("tab", "running")
    here = wanted if wanted in _PARTS else "running"
    # Links, so that each part has an address, and the way back is the browser's.
    with ui.element("nav").classes("tabs").props('aria-label="Parts of the configuration"'):
        for name, (title, _) in _PARTS.items():
            link = ui.link(title, address(PATH, tab=name, node=view.query.get("node"))).classes("tab")
            if name == here:
                link.classes("here").props("aria-current=page")
    await _PARTS[here][1](view, node)
