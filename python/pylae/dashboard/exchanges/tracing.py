"""One exchange from life: waits for the next one like another, and shows what was decided about it, step by step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click
from nicegui import ui

from pylae.access.scopes import OPERATE
from pylae.cli import traced
from pylae.dashboard.client import RefusedError, UnreachableError
from pylae.dashboard.nodes import Node
from pylae.dashboard.view import View

_WAIT = 30
"""Seconds to wait for it."""


def offer(view: View, node: Node, alike: Mapping[str, str | None], what: str) -> None:
    """A control that waits for the next exchange like this one: of the same route, method, path or status."""
    wanted = {name: value for name, value in alike.items() if value}

    async def wait() -> None:
        place.clear()
        with place:
            ui.label(f"Waiting for {what}, for {_WAIT} s at most …").classes("faint")
        told = await _next(view, node, wanted)
        place.clear()
        with place:
            if isinstance(told, str):
                ui.label(told).classes("bad")
            else:
                lines = [click.unstyle(line) for line in traced.lines(told, everything=False)]
                text = ui.label("\n".join(lines)).classes("mono explanation")
                text.props('tabindex=0 role=region aria-label="Trace"')

    view.button(f"Trace {what}", node, OPERATE, wait)
    place = ui.element("div").props("aria-live=polite")


async def _next(view: View, node: Node, wanted: Mapping[str, str]) -> dict[str, Any] | str:
    """The trace of the next exchange like this; a text if there is none, which says why."""
    query = {**wanted, "count": "1", "timeout": str(_WAIT)}
    try:
        events = await view.ask(node, "/traces/watch", query=query, patience=_WAIT + 5.0)
    except RefusedError as error:
        return "This gateway traces no single exchanges." if error.status == 404 else error.detail
    except UnreachableError as error:
        return f"{node.name} {error}"
    for event in str(events).split("\n\n"):
        name, _, data = event.partition("\ndata: ")
        if name == "event: trace":
            found: dict[str, Any] = json.loads(data)
            return found
    return f"There was none within {_WAIT} s."
