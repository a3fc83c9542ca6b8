"""Explanations of requests: what the configuration in force does with one, and where that was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui

from pylae.dashboard.client import RefusedError, UnreachableError
from pylae.dashboard.exchanges import reasons
from pylae.dashboard.nodes import Node
from pylae.dashboard.view import View


def question(exchange: Mapping[str, Any]) -> dict[str, Any]:
    """What to ask about the request of an exchange. Its credentials are not known, and not part of it."""
    query = f"?{exchange['query']}" if exchange.get("query") else ""
    target = f"{exchange['path']}{query}"
    # A log shows what could not be read as a path too.
    target = quote(target, safe="".join(map(chr, range(0x21, 0x7F))))
    host = [["Host", exchange["host"]]] if exchange.get("host") else []
    return {"method": exchange["method"], "target": target, "headers": host, "client": exchange["client"]}


async def explain(view: View, node: Node, asked: dict[str, Any]) -> dict[str, Any] | str:
    """The answer of a gateway; a text if there is none, which says why."""
    try:
        answer: dict[str, Any] = await view.ask(node, "/explain", method="POST", body=asked)
    except RefusedError as error:
        return error.detail
    except UnreachableError as error:
        return f"{node.name} {error}"
    return answer


def show_lines(answer: dict[str, Any] | str) -> None:
    """Shows an explanation as `pylae explain` prints it."""
    if isinstance(answer, str):
        ui.label(answer).classes("bad")
        return
    text = ui.label("\n".join(answer["lines"])).classes("mono explanation")
    text.props('tabindex=0 role=region aria-label="Explanation"')


def show_deciding(exchange: Mapping[str, Any], answer: dict[str, Any] | str) -> None:
    """Shows the policies that may have decided an exchange, with what was written about them, and where."""
    if isinstance(answer, str):
        return
    for policy in reasons.deciding(exchange, answer["explanation"]["policies"]):
        with ui.element("div").classes("decided"):
            with ui.element("div").classes("bar"):
                ui.label(f"Decided by {policy['name']}").classes("question")
                ui.label(policy["place"] or "added by a program").classes("mono faint")
            written = [one for one in policy["settings"] if one["from"] not in (None, "default")]
            for one in written or policy["settings"]:
                with ui.element("div").classes("bar"):
                    ui.label(f"{one['name']}: {one['value']}").classes("mono")
                    ui.label(str(one["from"] or "")).classes("mono faint")
