"""Nodes and revisions: which gateways there are, what each has in force, and how far a roll-out is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from pylae.access.scopes import CONFIGURE
from pylae.dashboard import shown
from pylae.dashboard.nodes import Node
from pylae.dashboard.single import address
from pylae.dashboard.table import Column, Table
from pylae.dashboard.view import View

_GATEWAYS = (
    Column("node", "Gateway", "link"),
    Column("state", "State", "state"),
    Column("revision", "Revision", "mono"),
    Column("from", "Configured by"),
    Column("version", "Pylae"),
    Column("started", "Started", show=shown.when),
    Column("trouble", "What is wrong"),
)
_MEMBERS = (
    Column("name", "Node"),
    Column("state", "State", "state"),
    Column("in_force", "In force", "number"),
    Column("target", "Should have", "number"),
    Column("lag", "Last word", "number", lambda value: "" if value is None else f"{value:.1f} s ago"),
    Column("round_trip", "Store answers in", "number", lambda value: "" if value is None else f"{value * 1000:.1f} ms"),
    Column("requests", "Requests", "number", lambda value: "" if value is None else f"{value:,}"),
    Column("errors", "Answered 5xx", "number", lambda value: "" if value is None else f"{value:,}"),
    Column("version", "Pylae"),
    Column("started", "Started", show=shown.when),
    Column("problems", "What is wrong"),
)
_STAGES = {
    "checking": ("all nodes check it", "warn"),
    "admitting": ("the first node takes it", "warn"),
    "observing": ("the first node is observed", "warn"),
    "done": ("done", "good"),
    "refused": ("refused", "bad"),
    "taken_back": ("taken back", "bad"),
    "cancelled": ("cancelled", "warn"),
}
_ENDED = ("done", "refused", "taken_back", "cancelled")
_SILENT = 3.0
"""Seconds without a word after which a node is late. It speaks once a second."""


class _Rollout:
    """The latest roll-out."""

    def __init__(self, view: View) -> None:
        self._view, self._shown = view, ""
        self.box = ui.element("div")

    def update(self, node: Node, rollout: Mapping[str, Any] | None) -> None:
        """Shows how far it is."""
        if rollout is None or (told := repr(rollout)) == self._shown:
            return
        self._shown = told
        self.box.clear()
        with self.box, ui.element("section").classes("card part").props("aria-label=Roll-out"):
            ui.label("The latest roll-out").classes("subtitle").props("role=heading aria-level=2")
            words, tone = _STAGES.get(rollout["stage"], (rollout["stage"], "faint"))
            with ui.element("div").classes("bar"):
                ui.label(words).classes(f"pill {tone}")
                ui.link(
                    f"Entry {rollout['number']}",
                    address("/configuration", tab="history", entry=str(rollout["number"]), node=node.name),
                )
                why = f": {rollout['reason']}" if rollout["reason"] else ""
                ui.label(f"begun {shown.when(rollout['started'])} by {rollout['author']}{why}")
                if rollout["stage"] not in _ENDED:
                    self._view.button("Cancel roll-out", node, CONFIGURE, lambda: self._cancel(node), icon="cancel")
            for line in _lines(rollout):
                ui.label(line)

    async def _cancel(self, node: Node) -> None:
        await self._view.act(node, "The roll-out is cancelled", "/rollout/cancel")


def _lines(rollout: Mapping[str, Any]) -> list[str]:
    lines = []
    if rollout["first"]:
        lines.append(f"First on {rollout['first']}, observed for {rollout['observe']:g} s.")
    for key, words in (("seen", "Answers of the first node"), ("usual", "Compared with")):
        if (counted := rollout[key]) is not None:
            p99 = "" if counted["p99"] is None else f", 99 % within {counted['p99'] * 1000:.0f} ms"
            lines.append(f"{words}: {counted['requests']:,} requests, {counted['errors']:,} answered 5xx{p99}.")
    if rollout["verdict"]:
        lines.append(f"Verdict: {rollout['verdict']}")
    if rollout["node"]:
        lines.append(f"Refused by {rollout['node']}:")
    return lines + list(rollout["problems"])


async def show(view: View) -> None:
    """Builds the page."""
    gateways = Table(_GATEWAYS, key="id", label="Gateways", size=50)
    rollout = _Rollout(view)
    ui.label("Nodes that share a store").classes("subtitle").props("role=heading aria-level=2")
    about = ui.label("").classes("faint").props("role=status")
    disagreements = ui.label("").classes("bad")
    members = Table(
        _MEMBERS, key="id", search="Search nodes", label="Nodes", size=50, empty="These gateways share no store."
    )

    def update() -> None:
        gateways.rows = [_gateway(node) for node in view.nodes]
        speaking = [node for node in view.nodes if not node.trouble]
        knowing = next((node for node in speaking if node.value("fleet") or node.value("nodes")), None)
        members.rows = _members(knowing)
        fleet = (knowing.value("fleet") if knowing else None) or {}
        cluster = (knowing.value("nodes") if knowing else None) or {}
        if knowing is not None:
            rollout.update(knowing, fleet.get("rollout"))
        about.set_text(" ".join(_about(knowing, fleet, cluster)))
        disagreements.set_text(" ".join(cluster.get("disagreements", ())))

    await view.follow(("fleet", "nodes"), update)


def _gateway(node: Node) -> dict[str, Any]:
    status = node.value("status") or {}
    down = node.trouble is not None
    since = f" since {shown.clock(node.since)}" if node.since is not None else ""
    return {
        "id": node.name,
        "node": node.name,
        "node_to": address("/configuration", tab="history", node=node.name),
        "state": "down" if down else "answers" if status else "",
        "state_tone": "bad" if down else "good",
        "revision": status.get("revision"),
        "from": ("the admin API" if status["overridden"] else status["source"]) if status else None,
        "version": status.get("version"),
        "started": status.get("started"),
        "trouble": f"{node.trouble}{since}" if down else None,
    }


def _members(knowing: Node | None) -> list[dict[str, Any]]:
    """The nodes of the cluster and the fleet, which are the same where there are both, as one of them sees them."""
    if knowing is None:
        return []
    rows: dict[str, dict[str, Any]] = {}
    for member in (knowing.value("nodes") or {"nodes": []})["nodes"]:
        late = member["silent"] > _SILENT
        rows[member["name"]] = {
            "id": member["id"],
            **{key: member[key] for key in ("name", "version", "started", "round_trip")},
            "lag": member["silent"],
            "state": "late" if late else "lives",
            "state_tone": "warn" if late else "good",
        }
    for member in (knowing.value("fleet") or {"nodes": []})["nodes"]:
        row = rows.setdefault(member["name"], {"id": member["id"], "name": member["name"]})
        row |= {key: member[key] for key in ("version", "started", "in_force", "target", "requests", "errors")}
        row["problems"] = "; ".join(member["problems"])
        behind = member["in_force"] != member["target"]
        if member["problems"] or behind or "state" not in row:
            row["state"] = "refuses" if member["problems"] else "behind" if behind else "lives"
            row["state_tone"] = "bad" if member["problems"] else "warn" if behind else "good"
    return list(rows.values())


def _about(knowing: Node | None, fleet: Mapping[str, Any], cluster: Mapping[str, Any]) -> list[str]:
    if knowing is None:
        return []
    lines = [f"As {knowing.name} sees them."]
    if fleet:
        lines.append(f"All should have entry {fleet['head']} of the history." if fleet["head"] else "")
    for told in (fleet, cluster):
        if told and not told["available"]:
            lines.append(f"The store does not answer, so this may be old: {told['problem'] or 'no reason is known'}.")
            break
    return [line for line in lines if line]
