"""Exchanges: the latest ones, those of a user or a status, and why each ended as it did."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from pylae.dashboard import shown
from pylae.dashboard.exchanges import reasons
from pylae.dashboard.exchanges.explaining import explain, question, show_deciding, show_lines
from pylae.dashboard.exchanges.tracing import offer
from pylae.dashboard.nodes import Node
from pylae.dashboard.single import address
from pylae.dashboard.table import Column, Table
from pylae.dashboard.view import View

_MOST = 200
"""Exchanges of a gateway that are listed."""
_STATUSES = ("", "5xx", "4xx", "401", "403", "404", "429", "502", "503", "504", "2xx", "3xx")
_FILTERS = ("status", "user", "route", "service", "text")
_FIELDS = (
    *("timestamp", "request_id", "client", "user", "method", "host", "path", "query", "route", "service", "instance"),
    *("status", "code", "retries", "complete", "bytes_in", "bytes_out", "protocol", "user_agent", "referer"),
)


async def show(view: View) -> None:
    """Builds the page. The filters are in its address, so that it can be passed on."""
    filters = {name: view.query.get(name, "") for name in _FILTERS}
    if filters["status"] not in _STATUSES:
        filters["status"] = ""
    held: dict[str, tuple[Node, dict[str, Any]]] = {}

    def chosen() -> None:
        view.turn_to((_topic(filters),))
        ui.navigate.history.replace(address("/exchanges", **{key: value or None for key, value in filters.items()}))

    _filters(filters, chosen)
    trouble = ui.label("").classes("bad").props("role=status")
    detail = ui.element("section").props("aria-live=polite")
    table = Table(
        (
            Column("time", "Time", "pick", shown.clock),
            Column("status", "Status", "state"),
            Column("method", "Method"),
            Column("path", "Path", "mono"),
            Column("user", "User"),
            Column("client", "Client"),
            Column("route", "Route", "link"),
            Column("code", "Why"),
            Column("instance", "Instance"),
            Column("duration", "Duration", "number", shown.duration),
            Column("node", "Gateway"),
        ),
        key="id",
        sort="time",
        descending=True,
        empty="No such exchange is known. In busy seconds only some are kept.",
        label="Exchanges",
    )

    async def picked(key: str) -> None:
        if key in held:
            await _detail(view, detail, *held[key])

    table.on_pick(picked)

    def update() -> None:
        held.clear()
        topic = _topic(filters)
        for node in view.nodes:
            for one in node.value(topic, {}).get("exchanges", []):
                held[f"{node.name} {one['request_id']} {one['timestamp']}"] = node, one
        seen = [(node, node.seen(topic)) for node in view.nodes]
        trouble.set_text("; ".join(f"{node.name}: {one.refused}" for node, one in seen if one and one.refused))
        table.rows = [_row(key, node, one) for key, (node, one) in held.items()]

    await view.follow((_topic(filters),), update)


def _topic(filters: dict[str, str]) -> str:
    given = {name: value for name, value in filters.items() if value}
    return f"exchanges?{urlencode({'most': _MOST, **given})}"


def _filters(filters: dict[str, str], chosen: Any) -> None:
    def field(name: str, label: str, kind: str = "text") -> None:
        def changed(event: Any) -> None:
            filters[name] = str(event.value or "").strip()[:1000]
            chosen()

        ui.input(label, value=filters[name], on_change=changed).props(
            f"dense outlined clearable debounce=400 type={kind}"
        )

    def status(event: Any) -> None:
        filters["status"] = "" if event.value == "any" else str(event.value)
        chosen()

    with ui.element("div").classes("bar").props('role=search aria-label="Filters"'):
        ui.select(["any", *_STATUSES[1:]], value=filters["status"] or "any", label="Status", on_change=status).props(
            "dense outlined options-dense"
        ).classes("narrow")
        field("user", "User or consumer")
        field("text", "Text in any field", "search")
        field("route", "Route")
        field("service", "Service")


def _row(key: str, node: Node, one: dict[str, Any]) -> dict[str, Any]:
    status = one["status"] or 0
    return {
        "id": key,
        "time": shown.moment(one["timestamp"]),
        "status": one["status"] if one["complete"] else f"{one['status']} cut off",
        "status_tone": "bad" if status >= 500 or not one["complete"] else "warn" if status >= 400 else "good",
        "method": one["method"],
        "path": one["path"],
        "user": one["user"],
        "client": one["client"],
        "route": one["route"],
        "route_to": address("/routes", route=one["route"]) if one["route"] else None,
        "code": one["code"],
        "instance": one["instance"],
        "duration": one["duration"],
        "node": node.name,
    }


async def _detail(view: View, place: ui.element, node: Node, one: dict[str, Any]) -> None:
    place.clear()
    with place, ui.element("div").classes("card part"):
        with ui.element("div").classes("bar"):
            title = f"{one['method']} {one['path']} → {one['status']}"
            ui.label(title).classes("subtitle").props("role=heading aria-level=2")
            ui.button("Close", on_click=place.clear).props("flat dense no-caps")
        ui.label(reasons.why(one)).classes("question")
        answer = await explain(view, node, question(one))
        show_deciding(one, answer)
        with ui.element("div").classes("halves"):
            with ui.element("dl").classes("fields"):
                for name in _FIELDS:
                    if one.get(name) is not None:
                        with ui.element("div"):
                            with ui.element("dt"):
                                ui.label(name.replace("_", " ")).classes("faint")
                            with ui.element("dd"):
                                ui.label(str(one[name])).classes("mono")
            with ui.element("div"):
                ui.label(
                    "What the configuration in force does with such a request. The credentials of the request are not "
                    "kept, so policies are asked as if it had none."
                ).classes("faint")
                show_lines(answer)
        alike = {"route": one["route"], "method": one["method"], "status": str(one["status"])}
        offer(view, node, alike, "the next one like it")
