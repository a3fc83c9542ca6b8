"""Services: their instances, how they are, since when and why, and what can be done about them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from nicegui import ui

from pylae.access.scopes import OPERATE
from pylae.dashboard import shown
from pylae.dashboard.charts import TimeChart
from pylae.dashboard.figures import history, troubles
from pylae.dashboard.nodes import Node
from pylae.dashboard.single import address
from pylae.dashboard.table import Column, Table
from pylae.dashboard.view import View

_MOST_INSTANCES = 100
"""Instances that are shown of a service, those with trouble first."""
_TOPICS = ("summary", "services", "breakers", "timeline", "maintenance", "routes", "history")


async def show(view: View) -> None:
    """Builds the page: all services, or the one that its address names."""
    name = view.query.get("service")
    await (_all(view) if not name else _one(view, name))


async def _all(view: View) -> None:
    table = Table(
        (
            Column("service", "Service", "link"),
            Column("node", "Gateway"),
            Column("state", "State", "state"),
            Column("since", "Since", show=lambda at: f"{shown.clock(at)} ({shown.ago(at)})" if at else ""),
            Column("why", "Why"),
            Column("up", "Up", "number"),
            Column("rate", "Traffic", "number", shown.rate),
            Column("errors", "5xx", "number", shown.share),
            Column("p99", "p99", "number", shown.duration),
        ),
        key="id",
        search="Search services",
        empty="There is no service.",
        label="Services",
    )

    def update() -> None:
        worst: dict[tuple[Node, str], troubles.Trouble] = {}
        for one in reversed(troubles.lasting(view.nodes)):
            if one.kind != "draining":
                worst.setdefault((one.node, one.service), one)
        table.rows = sorted(
            (
                _row(node, service, worst.get((node, service["name"])))
                for node in view.nodes
                for service in node.value("services", [])
            ),
            key=lambda row: (row["gravity"], row["service"]),
        )

    await view.follow(_TOPICS[:4], update)


def _row(node: Node, service: dict[str, Any], trouble: troubles.Trouble | None) -> dict[str, Any]:
    instances, name = service["instances"], service["name"]
    recent = node.value("summary", {}).get("services", {}).get(name, {}).get("recent", {})
    up = sum(one["state"] == "up" for one in instances)
    state = "up" if trouble is None else troubles.WORDS[trouble.kind].partition(":")[0]
    return {
        "id": f"{node.name} {name}",
        "service": name,
        "service_to": address("/services", service=name),
        "node": node.name,
        "state": "instances cannot be looked up" if service["trouble"] else state,
        "state_tone": "good" if trouble is None and not service["trouble"] else "bad",
        "since": trouble and trouble.since,
        "why": service["trouble"] or (trouble and (trouble.why or trouble.instance)),
        "up": f"{up}/{len(instances)}",
        "rate": recent.get("rate"),
        "errors": recent["errors"] / recent["requests"] if recent.get("requests") else None,
        "p99": recent.get("p99"),
        "gravity": 0 if trouble or service["trouble"] else 1,
    }


async def _one(view: View, name: str) -> None:
    with ui.element("div").classes("bar"):
        ui.link("All services", "/services")
        ui.label(name).classes("subtitle").props("role=heading aria-level=2")
        ui.link("Its failed exchanges", address("/exchanges", service=name, status="5xx"))
        ui.link("All its exchanges", address("/exchanges", service=name))
    topic = f"timeline?{urlencode({'service': name})}"
    parts = {node: _Part(view, node, name) for node in view.nodes}
    with ui.element("section").classes("card"):
        ui.label("The last hour").classes("subtitle").props("role=heading aria-level=2")
        chart = TimeChart(lambda _: ui.navigate.to("/"), f"Requests, errors and durations of {name}")

    def update() -> None:
        for part in parts.values():
            part.show()
        marks = [(at, f"#{entry['number']}") for _, entry, at in history.changes(view.nodes)]
        chart.show(history.hour(view.nodes, name, topic), marks)

    await view.follow((*_TOPICS, topic), update)


class _Part:
    """A service at one gateway."""

    def __init__(self, view: View, node: Node, name: str) -> None:
        self._view, self._node, self._name = view, node, name
        self._shown: Any = None
        with ui.element("section").classes("card part"):
            self._place = ui.element("div")

    def show(self) -> None:
        """Shows what is known now, if that is something else than before."""
        node, name = self._node, self._name
        service = next((one for one in node.value("services", []) if one["name"] == name), None)
        breakers = {one["instance"]: one for one in node.value("breakers", []) if one["service"] == name}
        wrong = [one for one in troubles.lasting([node]) if one.service == name]
        switched = any(
            (one["scope"], one["name"]) == ("service", name)
            for one in node.value("maintenance", {}).get("switches", [])
        )
        routes = node.value("routes", {})
        used = [one["name"] for one in routes.get("routes", []) if name in one["services"]]
        place = routes.get("services", {}).get(name)
        state = (service, breakers, wrong, switched, used, place, node.trouble)
        if state == self._shown:
            return
        self._shown = state
        self._place.clear()
        with self._place:
            self._build(service, breakers, wrong, switched, used, place)

    def _build(
        self,
        service: dict[str, Any] | None,
        breakers: dict[str | None, dict[str, Any]],
        wrong: list[troubles.Trouble],
        switched: bool,
        used: list[str],
        place: str | None,
    ) -> None:
        node, name = self._node, self._name
        with ui.element("div").classes("bar"):
            ui.label(node.name).classes("subtitle").props("role=heading aria-level=2")
            if place:
                ui.label(place).classes("mono faint")
        if service is None:
            ui.label(node.trouble or "This gateway has no such service.").classes("faint")
            return
        with ui.element("div").classes("bar"):
            if service["trouble"]:
                ui.label(f"Its instances cannot be looked up: {service['trouble']}").classes("bad")
            self._breaker(breakers.get(None), wrong)
            self._maintenance(switched)
            for route in used[:12]:
                ui.link(f"route {route}", address("/routes", route=route))
        by_url: dict[str | None, list[troubles.Trouble]] = {}
        for one in wrong:
            by_url.setdefault(one.instance, []).append(one)
        for one in by_url.get(None, []):
            if one.kind == "errors":
                ui.label(_sentence(one)).classes("bad")
        instances = sorted(service["instances"], key=lambda one: (one["url"] not in by_url, one["url"]))
        for instance in instances[:_MOST_INSTANCES]:
            self._instance(name, instance, breakers.get(instance["url"]), by_url.get(instance["url"], []))
        if len(instances) > _MOST_INSTANCES:
            ui.label(f"… and {len(instances) - _MOST_INSTANCES} more, all up").classes("faint")

    def _breaker(self, breaker: dict[str, Any] | None, wrong: list[troubles.Trouble]) -> None:
        if breaker is None:
            return
        tone = {"closed": "good", "open": "bad"}.get(breaker["state"], "warn")
        ui.label(f"breaker {breaker['state'].replace('_', ' ')}").classes(f"pill {tone}")
        for one in wrong:
            if one.instance is None and one.kind == breaker["state"]:
                ui.label(_sentence(one)).classes("bad")
        if breaker["state"] != "closed":
            self._button("Reset breaker", "The breaker is closed.", f"/breakers/{_part(self._name)}/reset")

    def _maintenance(self, switched: bool) -> None:
        path = f"/maintenance/services/{quote(self._name)}"
        if switched:
            ui.label("maintenance").classes("pill warn")
            self._button("End maintenance", f"{self._name} gets requests again.", path, method="DELETE")
        else:
            sure = f"Answer all requests for {self._name} with 503?"
            done = f"{self._name} is in maintenance."
            self._button("Maintenance", done, path, method="PUT", body={}, sure=sure)

    def _instance(
        self,
        name: str,
        one: dict[str, Any],
        breaker: dict[str, Any] | None,
        wrong: list[troubles.Trouble],
    ) -> None:
        draining = one["state"] == "draining"
        bad = [each for each in wrong if each.kind != "draining"]
        with ui.element("div").classes("instance"):
            tone = "bad" if bad or one["state"] in ("down", "ejected") else "faint" if draining else "good"
            ui.label("failing" if bad and one["state"] == "up" else one["state"]).classes(f"pill {tone}")
            ui.label(one["url"]).classes("mono url")
            failed = f"{one['failures']} of {one['attempts']} attempts failed" if one["attempts"] else "no attempts yet"
            weight = f", weight {one['weight']}" if one["weight"] != 1 else ""
            ui.label(f"{failed}, {one['in_flight']} in flight, from {one['source']}{weight}").classes("faint")
            path = f"/services/{_part(name)}/instances/{_part(one['id'])}/drain"
            if draining:
                self._button("End drain", f"{one['url']} gets requests again.", path, method="DELETE")
            else:
                sure = f"Give {one['url']} no new requests?"
                self._button("Drain", f"{one['url']} gets no new requests.", path, sure=sure)
            if breaker is not None and breaker["state"] != "closed":
                reset = f"/breakers/{_part(name)}/reset"
                self._button("Reset breaker", "The breaker is closed.", reset, query={"instance": one["url"]})
            for each in wrong:
                ui.label(_sentence(each)).classes("bad why" if each in bad else "faint why")

    def _button(self, text: str, done: str, path: str, *, sure: str | None = None, **how: Any) -> None:
        async def act() -> None:
            await self._view.act(self._node, done, path, **how)

        self._view.button(text, self._node, OPERATE, act, sure=sure)


def _sentence(one: troubles.Trouble) -> str:
    since = f" since {shown.clock(one.since)}" if one.since else ""
    return f"{troubles.WORDS[one.kind]}{since}{f': {one.why}' if one.why else ''}"


def _part(text: str) -> str:
    return quote(text, safe="")
