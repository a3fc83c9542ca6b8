"""Pages that are about one gateway at a time."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from nicegui import events, ui

from pylae.dashboard.nodes import Node
from pylae.dashboard.view import View


def one_gateway(view: View, path: str) -> Node:
    """The gateway that the page at this path is about: that of its address, or the first. Offers the others."""
    found = view.node(view.query.get("node"))
    node = found if found is not None and found in view.nodes else view.nodes[0]
    if len(view.nodes) > 1:

        def chosen(event: events.ValueChangeEventArguments[Any]) -> None:
            ui.navigate.to(address(path, **{**view.query, "node": str(event.value)}))

        with ui.element("div").classes("bar"):
            ui.select([one.name for one in view.nodes], value=node.name, on_change=chosen, label="Gateway").props(
                "dense outlined options-dense"
            ).classes("which")
    return node


def address(path: str, **query: str | None) -> str:
    """The address of a page."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path
