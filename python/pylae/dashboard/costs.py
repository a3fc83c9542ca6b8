"""What policies and hooks cost, by route."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from pylae.dashboard import shown
from pylae.dashboard.nodes import Node
from pylae.dashboard.single import address
from pylae.dashboard.table import Column, Table

_MOST = 100


class CostTable:
    """The policies and hooks that took most time in the last minute. Nothing where gateways do not tell it."""

    def __init__(self, route: str | None = None) -> None:
        """With a route, only its own."""
        self._route = route
        self.topic = address("costs", most=str(_MOST), route=route)
        """What to follow."""
        columns = (
            Column("name", "Policy or hook"),
            Column("route", "Route", "link"),
            Column("share", "Share of time", "number", shown.share),
            Column("each", "Time each", "number", shown.duration),
            Column("waited", "Waited each", "number", shown.duration),
            Column("calls", "Calls", "number", shown.number),
            Column("rejections", "Refused", "number", shown.number),
            Column("failures", "Failed", "number", shown.number),
            Column("state", "Budget", "state"),
            Column("node", "Gateway"),
        )
        with ui.element("section") as self._section:
            ui.label("What policies and hooks cost").classes("subtitle").props("role=heading aria-level=2")
            self._table = Table(
                [column for column in columns if route is None or column.name != "route"],
                key="id", sort="share", descending=True, size=10, label="What policies and hooks cost",
                empty="No policy or hook has cost anything in the last minute.",
            )  # fmt: skip
        self._section.set_visibility(False)

    def show(self, nodes: list[Node]) -> None:
        """Shows what these gateways tell."""
        known = [(node, value["costs"]) for node in nodes if (value := node.value(self.topic)) is not None]
        self._section.set_visibility(bool(known))
        self._table.rows = [_row(node, one) for node, costs in known for one in costs if one["recent"]["calls"]]


def _row(node: Node, one: dict[str, Any]) -> dict[str, Any]:
    recent, hook = one["recent"], one["hook"] or {}
    over = recent["over_budget"]
    state = "moved off the workers" if hook.get("demoted") else f"{over} over budget" if over else None
    return {
        "id": f"{node.name} {one['kind']} {one['route']} {one['name']}",
        "name": one["name"] if one["kind"] == "policy" else f"hook {one['name']}",
        "route": one["route"] or "(before routes)",
        "route_to": address("/routes", route=one["route"]) if one["route"] else None,
        "share": one["share"],
        "each": recent["seconds"] / recent["calls"],
        "waited": recent["waited"] / recent["calls"],
        "calls": recent["calls"],
        "rejections": recent["rejections"],
        "failures": recent["failures"],
        "state": state,
        "state_tone": "bad",
        "node": node.name,
    }
