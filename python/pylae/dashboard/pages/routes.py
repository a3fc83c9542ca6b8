"""Routes: which requests they take, the policies that these meet, where they go, and where that was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from nicegui import ui

from pylae.access.scopes import OPERATE
from pylae.dashboard import shown
from pylae.dashboard.costs import CostTable
from pylae.dashboard.exchanges.explaining import explain, show_lines
from pylae.dashboard.exchanges.tracing import offer
from pylae.dashboard.nodes import Node
from pylae.dashboard.single import address
from pylae.dashboard.table import Column, Table
from pylae.dashboard.view import View

_TOPICS = ("routes", "metrics")


async def show(view: View) -> None:
    """Builds the page: all routes, or the one that its address names."""
    name = view.query.get("route")
    await (_all(view) if not name else _one(view, name))


async def _all(view: View) -> None:
    with ui.element("details").classes("card part"):
        with ui.element("summary"):
            ui.label("Explain a request").classes("question")
        _asking(view, view.nodes[0], "/")
    table = Table(
        (
            Column("route", "Route", "link"),
            Column("path", "Path", "mono"),
            Column("methods", "Methods"),
            Column("conditions", "Conditions"),
            Column("policies", "Policies"),
            Column("service", "Service", "link"),
            Column("rate", "Traffic", "number", shown.rate),
            Column("errors", "5xx", "number", shown.share),
            Column("p99", "p99", "number", shown.duration),
            Column("place", "Written at", "mono", lambda place: Path(place).name if place else "by a program"),
        ),
        key="route",
        search="Search routes",
        empty="There is no route.",
        label="Routes",
    )
    costs = CostTable()
    known: dict[Node, tuple[Any, dict[str, dict[str, Any]]]] = {}

    def update() -> None:
        rows: dict[str, dict[str, Any]] = {}
        for node in view.nodes:
            seen = node.seen("routes")
            if seen is None or seen.value is None:
                continue
            # Large configurations change rarely.
            if node not in known or known[node][0] is not seen:
                known[node] = seen, {one["name"]: _row(one) for one in seen.value["routes"]}
            recent = node.figures.recent()
            for name, row in known[node][1].items():
                found = rows.setdefault(name, dict(row))
                if figures := recent.get(name):
                    rate = (found.get("rate") or 0.0) + figures.rate
                    failed = (found.get("failed") or 0.0) + figures.errors * figures.rate
                    p99 = max((one for one in (found.get("p99"), figures.p99) if one is not None), default=None)
                    found |= {"rate": rate, "failed": failed, "errors": failed / rate, "p99": p99}
        table.rows = list(rows.values())
        costs.show(view.nodes)

    await view.follow((*_TOPICS, costs.topic), update)


def _row(one: dict[str, Any]) -> dict[str, Any]:
    services = one["services"]
    return {
        "route": one["name"],
        "route_to": address("/routes", route=one["name"]),
        "path": f"{one['kind']} {one['path']}",
        "methods": ", ".join(one["methods"]) or "any",
        "conditions": ", ".join(one["conditions"]),
        "policies": ", ".join(policy["name"] for policy in one["policies"]),
        "service": ", ".join(services) or "(answered by a policy)",
        "service_to": address("/services", service=services[0]) if services else None,
        "place": one["place"],
    }


async def _one(view: View, name: str) -> None:
    with ui.element("div").classes("bar"):
        ui.link("All routes", "/routes")
        ui.label(name).classes("subtitle").props("role=heading aria-level=2")
        ui.link("Its failed exchanges", address("/exchanges", route=name, status="5xx"))
        ui.link("Its refused exchanges", address("/exchanges", route=name, status="4xx"))
        ui.link("All its exchanges", address("/exchanges", route=name))
    parts = [_Part(view, node, name) for node in view.nodes]

    costs = CostTable(name)

    def update() -> None:
        for part in parts:
            part.show()
        costs.show(view.nodes)

    await view.follow((*_TOPICS, "services", "maintenance", costs.topic), update)


class _Part:
    """A route at one gateway."""

    def __init__(self, view: View, node: Node, name: str) -> None:
        self._view, self._node, self._name = view, node, name
        self._shown: Any = None
        with ui.element("section").classes("card part"):
            self._figures = ui.label("").classes("faint")
            self._place = ui.element("div")
            self._asking = ui.element("div")

    def show(self) -> None:
        """Shows what is known now, if that is something else than before."""
        node, name = self._node, self._name
        recent = node.figures.recent().get(name)
        self._figures.set_text(
            "No requests in the last minute"
            if recent is None
            else f"{shown.rate(recent.rate)}, 4xx {shown.share(recent.refused)}, 5xx {shown.share(recent.errors)}, "
            f"median {shown.duration(recent.p50)}, p99 {shown.duration(recent.p99)}"
        )
        routes = node.value("routes", {}).get("routes", [])
        route = next((one for one in routes if one["name"] == name), None)
        switched = any(
            (one["scope"], one["name"]) == ("route", name) for one in node.value("maintenance", {}).get("switches", [])
        )
        alive = {
            one["name"]: [each["state"] == "up" for each in one["instances"]] for one in node.value("services", [])
        }
        states = {one: alive.get(one, []) for one in (route or {}).get("services", [])}
        state = (route, switched, states, node.trouble)
        if state == self._shown:
            return
        self._shown = state
        self._place.clear()
        with self._place:
            self._build(route, switched, states)
        if route is not None and not self._asking.default_slot.children:
            with self._asking:
                offer(self._view, node, {"route": self._name}, "the next request")
                _asking(self._view, node, route["path"] if route["kind"] in ("exact", "prefix") else "/")

    def _build(self, route: dict[str, Any] | None, switched: bool, states: dict[str, list[bool]]) -> None:
        node = self._node
        with ui.element("div").classes("bar"):
            ui.label(node.name).classes("subtitle").props("role=heading aria-level=3")
            if route is None:
                ui.label(node.trouble or "This gateway has no such route.").classes("faint")
                return
            ui.label(route["place"] or "added by a program").classes("mono faint")
            self._maintenance(switched)
        with ui.element("ol").classes("chain change-list").props('aria-label="The way of a request"'):
            what = ", ".join(route["methods"]) or "any method"
            _step(f"{what} {route['kind']} {route['path']}", ", ".join(route["conditions"]))
            for policy in route["policies"]:
                _step(policy["name"], policy["place"] or "added by a program")
            for service in route["services"]:
                up = states[service]
                _step(service, f"{sum(up)} of {len(up)} instances up", address("/services", service=service))

    def _maintenance(self, switched: bool) -> None:
        path = f"/maintenance/routes/{quote(self._name)}"
        method, text, done, sure = (
            ("DELETE", "End maintenance", f"{self._name} takes requests again.", None)
            if switched
            else (
                "PUT",
                "Maintenance",
                f"{self._name} is in maintenance.",
                f"Answer all requests for {self._name} 503?",
            )
        )

        async def act() -> None:
            await self._view.act(self._node, done, path, method=method, body=None if switched else {})

        if switched:
            ui.label("maintenance").classes("pill warn")
        self._view.button(text, self._node, OPERATE, act, sure=sure)


def _step(text: str, more: str, to: str | None = None) -> None:
    with ui.element("li"), ui.element("div").classes("step"):
        if to is None:
            ui.label(text).classes("question")
        else:
            ui.link(text, to).classes("question")
        if more:
            ui.label(more).classes("mono faint")


def _asking(view: View, node: Node, target: str) -> None:
    """A form for a request to explain."""
    with ui.element("div").classes("bar"):
        method = ui.select(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"], value="GET", label="Method")
        method.props("dense outlined options-dense").classes("narrow")
        path = ui.input("Path and query", value=target).props("dense outlined").classes("wide")
        host = ui.input("Host").props("dense outlined")

        async def asked() -> None:
            fields = [["Host", host.value]] if host.value else []
            body = {
                "method": method.value,
                "target": quote(path.value or "/", safe="/?&=%:@!$'()*+,;~-._[]"),
                "headers": fields,
            }
            answer = await explain(view, node, body)
            place.clear()
            with place:
                show_lines(answer)

        ui.button("Explain", on_click=asked).props("outline no-caps dense").classes("action")
        path.on("keydown.enter", asked)
    place = ui.element("div").props("aria-live=polite")
