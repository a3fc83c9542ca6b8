"""The overview: is it well, and if not, where."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from pylae.dashboard import shown
from pylae.dashboard.charts import Spark, TimeChart
from pylae.dashboard.figures import history, troubles
from pylae.dashboard.nodes import Node
from pylae.dashboard.single import address
from pylae.dashboard.table import Column, Table
from pylae.dashboard.view import View

_TOPICS = ("health", "summary", "services", "breakers", "timeline", "metrics", "history", "cache")
_MOST_SPARKS = 6
"""Services with a chart, the worst first."""
_STEADY = 60.0
"""Seconds for which these stay the same, unless another one begins to fail."""
_MOST_CHANGES = 8
_GRAVITY = {"healthy": 0, "degraded": 1, "unhealthy": 2}
_TONES = {"healthy": "good", "degraded": "warn", "unhealthy": "bad"}


async def show(view: View) -> None:
    """Builds the page."""
    verdict = _Verdict()
    figures = _Figures()
    wrong = _wrong()
    with ui.element("div").classes("halves"):
        with ui.element("section").classes("card"):
            _heading("The last hour")
            chart = TimeChart(lambda name: changes.open(name), "Requests, errors and durations of the last hour")
        changes = _Changes()
    sparks = _Sparks()
    with ui.element("div").classes("halves"):
        services, routes = _services(), _routes()

    def update() -> None:
        nodes = view.nodes
        told, found = history.hour(nodes), history.changes(nodes)
        verdict.show(nodes)
        figures.show(nodes)
        wrong.rows = [_wrong_row(one) for one in troubles.lasting(nodes)]
        chart.show(told, [(at, changes.name(node, entry)) for node, entry, at in found[:_MOST_CHANGES]])
        changes.show(found, told, _unknown(nodes))
        rows = _service_rows(nodes)
        services.rows, routes.rows = rows, _route_rows(nodes)
        sparks.show(nodes, rows)
        view.turn_to((*_TOPICS, sparks.topic))

    await view.follow(_TOPICS, update)


def _heading(text: str) -> None:
    ui.label(text).classes("subtitle").props("role=heading aria-level=2")


class _Verdict:
    """Whether all is well, and why not."""

    def __init__(self) -> None:
        with ui.element("section").classes("card verdict").props('aria-label="Health" role=status'):
            self._word = ui.label("").classes("figure")
            self._reasons = ui.label("").classes("reasons")

    def show(self, nodes: list[Node]) -> None:
        health = [(node, node.value("health")) for node in nodes]
        known = [(node, value) for node, value in health if value is not None]
        down = [f"{node.name} does not answer: {node.trouble}" for node in nodes if node.trouble]
        states = [value["status"] for _, value in known] + (["unhealthy"] if down else [])
        worst = max(states, key=lambda state: _GRAVITY.get(state, 2), default=None)
        several = len(nodes) > 1
        reasons = [f"{node.name}: {one}" if several else one for node, value in known for one in value["reasons"]]
        switched = [f"switched to maintenance: {one}" for _, value in known for one in value["maintenance"]]
        self._word.set_text("No answer yet" if worst is None else worst.capitalize())
        self._word.classes(_TONES.get(worst or "", "faint"), remove="good warn bad faint")
        self._reasons.set_text("\n".join([*down, *reasons, *dict.fromkeys(switched)]))


class _Figures:
    """What people look at first, of all gateways together."""

    _LABELS = ("Traffic", "5xx", "Median", "p99", "In flight", "Instances up", "Open breakers", "Cache hits")

    def __init__(self) -> None:
        self._labels: dict[str, ui.label] = {}
        with ui.element("section").classes("cards figures").props('aria-label="Figures of the last minute"'):
            for name in self._LABELS:
                with ui.element("div").classes("card"):
                    self._labels[name] = ui.label(shown.NONE).classes("figure")
                    ui.label(name).classes("faint")

    def show(self, nodes: list[Node]) -> None:
        summaries = [value for node in nodes if (value := node.value("summary"))]
        recent = [one["recent"] for one in summaries]
        requests = sum(one["requests"] for one in recent)
        errors = sum(one["errors"] for one in recent)
        instances = [one for node in nodes for each in node.value("services", []) for one in each["instances"]]
        up = sum(one["state"] == "up" for one in instances)
        opened = sum(one["state"] != "closed" for node in nodes for one in node.value("breakers", []))
        hits = sum(one["cache"]["hits"] for one in summaries)
        looked = hits + sum(one["cache"]["misses"] for one in summaries)
        values = {
            "Traffic": (shown.rate(sum(one["rate"] for one in recent)), ""),
            "5xx": (shown.share(errors / requests if requests else None), "bad" if errors else ""),
            "Median": (shown.duration(_most(recent, "p50")), ""),
            "p99": (shown.duration(_most(recent, "p99")), ""),
            "In flight": (str(sum(one["in_flight"] for one in summaries)), ""),
            "Instances up": (f"{up}/{len(instances)}", "bad" if up < len(instances) else ""),
            "Open breakers": (str(opened), "bad" if opened else ""),
            "Cache hits": (shown.share(hits / looked if looked else None), ""),
        }
        for name, (text, tone) in values.items():
            self._labels[name].set_text(text)
            self._labels[name].classes(tone, remove="bad")


def _most(recent: list[dict[str, Any]], key: str) -> float | None:
    return max((one[key] for one in recent if one[key] is not None), default=None)


def _wrong() -> Table:
    _heading("What is wrong now")
    return Table(
        (
            Column("service", "Service", "link"),
            Column("instance", "Instance"),
            Column("kind", "What", "state", lambda kind: troubles.WORDS.get(kind, kind)),
            Column("since", "Since", show=lambda at: f"{shown.clock(at)} ({shown.ago(at)})" if at else "now"),
            Column("why", "Why"),
            Column("node", "Gateway"),
        ),
        key="id",
        size=10,
        empty="Nothing: all instances get requests, and all breakers are closed.",
        label="What is wrong now",
    )


def _wrong_row(one: troubles.Trouble) -> dict[str, Any]:
    return {
        "id": f"{one.node.name} {one.service} {one.instance} {one.kind}",
        "service": one.service,
        "service_to": address("/services", service=one.service),
        "instance": one.instance,
        "kind": one.kind,
        "kind_tone": troubles.TONES.get(one.kind, "bad"),
        "since": one.since,
        "why": one.why,
        "node": one.node.name,
    }


class _Changes:
    """What was changed last, and whether it got slower or failed more often after it."""

    def __init__(self) -> None:
        with ui.element("section").classes("card changes"):
            _heading("What was changed")
            self._list = ui.element("ol").classes("change-list")
        self._shown: Any = None
        self._items: dict[str, ui.expansion] = {}
        self._effects: dict[str, ui.label] = {}

    @staticmethod
    def name(node: Node, entry: dict[str, Any]) -> str:
        """What a change is called."""
        return f"#{entry['number']} by {entry.get('author', '?')} ({node.name})"

    def open(self, name: str) -> None:
        """Opens what a change is about."""
        if name in self._items:
            self._items[name].open()

    def show(self, found: list[tuple[Node, dict[str, Any], float]], told: history.Hour, unknown: str) -> None:
        """`unknown` says why nothing is known, if that is so."""
        found = found[:_MOST_CHANGES]
        names = [self.name(node, entry) for node, entry, _ in found]
        # Effects change with each look. What is there already must stay, as somebody may be about to click on it.
        if (names, unknown) != self._shown:
            self._shown = names, unknown
            self._list_anew(found, unknown)
        for name, (_, _, at) in zip(names, found, strict=True):
            _tell(self._effects[name], history.effect(told, at))

    def _list_anew(self, found: list[tuple[Node, dict[str, Any], float]], unknown: str) -> None:
        opened = {name for name, item in self._items.items() if item.value}
        self._items.clear()
        self._effects.clear()
        self._list.clear()
        with self._list:
            if not found:
                ui.label(unknown or "Nothing was changed.").classes("faint")
            for node, entry, at in found:
                self._item(node, entry, at, self.name(node, entry) in opened)

    def _item(self, node: Node, entry: dict[str, Any], at: float, opened: bool) -> None:
        name = self.name(node, entry)
        with ui.element("li"):
            what = ", ".join(one["path"] for one in entry["changes"][:2]) or entry["how"]
            more = f" and {entry['count'] - 2} more" if (entry["count"] or 0) > 2 else ""
            item = ui.expansion(f"{shown.clock(at)}  {what}{more}", value=opened).classes("w-full").props("dense")
            item.props["caption"] = f"{name}{': ' + entry['reason'] if entry['reason'] else ''}"
            self._items[name] = item
            with item:
                for one in entry["changes"]:
                    ui.label(f"{one['path']}: {_short(one['before'])} → {_short(one['after'])}").classes("mono")
                ui.link(
                    "Compare and roll back",
                    address("/configuration", tab="history", node=node.name, entry=str(entry["number"])),
                )
            self._effects[name] = ui.label()


def _unknown(nodes: list[Node]) -> str:
    seen = [node.seen("history") for node in nodes]
    refused = [one.refused for one in seen if one is not None and one.refused]
    return refused[0] if refused else "" if any(seen) else "No answer yet."


def _tell(label: ui.label, effect: history.Effect) -> None:
    label.set_visibility(None not in effect.p99 or bool(effect.errors[1]))
    label.set_text(_told(effect))
    label.classes("bad" if effect.worse else "faint", remove="faint" if effect.worse else "bad")


def _told(effect: history.Effect) -> str:
    p99, errors = effect.p99, effect.errors
    text = f"p99 {shown.duration(p99[0])} before, {shown.duration(p99[1])} after"
    return f"{text}; 5xx {shown.share(errors[0])} before, {shown.share(errors[1])} after" if any(errors) else text


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


class _Sparks:
    """The services that fail most, are slowest or busiest, each with its last hour."""

    def __init__(self) -> None:
        self.topic = "timeline"
        self._until, self._worse = 0.0, 0
        self._place = ui.element("section").classes("cards sparks").props('aria-label="Services, the worst first"')
        self._sparks: dict[str, tuple[ui.label, Spark, Spark]] = {}

    def show(self, nodes: list[Node], rows: list[dict[str, Any]]) -> None:
        """Shows those of these services. Which ones changes rarely, or somebody could not read them."""
        failing = {row["service"] for row in rows if row["failed"]}
        known = {row["service"] for row in rows} >= self._sparks.keys()
        if not known or time.monotonic() >= self._until or len(failing - self._sparks.keys()) > self._worse:
            self._until = time.monotonic() + _STEADY
            worst = [row["service"] for row in sorted(rows, key=_badness, reverse=True) if row["rate"]]
            self._choose(worst[:_MOST_SPARKS])
            self._worse = len(failing - self._sparks.keys())
        for name, (label, traffic, slow) in self._sparks.items():
            told = history.hour(nodes, name, self.topic)
            label.set_text(f"{shown.rate(_last(told.rates))}, p99 {shown.duration(_last(told.p99))}")
            traffic.show(told.rates)
            slow.show(told.p99)

    def _choose(self, services: list[str]) -> None:
        if set(services) != set(self._sparks):
            self._place.clear()
            self._sparks.clear()
            with self._place:
                for name in services:
                    with ui.element("div").classes("card"):
                        ui.link(name, address("/services", service=name)).classes("spark-name")
                        label = ui.label("").classes("faint")
                        traffic = Spark(f"Requests of {name}")
                        self._sparks[name] = label, traffic, Spark(f"p99 of {name}", "#d97706")
        query = urlencode({"service": ",".join(sorted(services))})
        self.topic = f"timeline?{query}" if services else "timeline"


def _last(values: list[float | None]) -> float | None:
    return next((value for value in reversed(values[-12:]) if value is not None), None)


_FIGURE_COLUMNS = (
    Column("rate", "Traffic", "number", shown.rate),
    Column("errors", "5xx", "number", shown.share),
    Column("p50", "Median", "number", shown.duration),
    Column("p99", "p99", "number", shown.duration),
)


def _services() -> Table:
    with ui.element("section"):
        _heading("Services")
        return Table(
            (Column("service", "Service", "link"), *_FIGURE_COLUMNS, Column("up", "Up", "number")),
            key="service", sort="errors", descending=True, size=10, empty="There is no service.", label="Services",
        )  # fmt: skip


def _routes() -> Table:
    with ui.element("section"):
        _heading("Routes with requests in the last minute")
        return Table(
            (
                Column("route", "Route", "link"),
                *_FIGURE_COLUMNS[:2],
                Column("refused", "4xx", "number", shown.share),
                *_FIGURE_COLUMNS[2:],
            ),
            key="route", sort="errors", descending=True, size=10, label="Routes",
            empty="No route had requests, or the gateway has not been asked twice yet.",
        )  # fmt: skip


def _service_rows(nodes: list[Node]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for node in nodes:
        summary = node.value("summary", {}).get("services", {})
        for service in node.value("services", []):
            recent = summary.get(service["name"], {}).get("recent")
            row = found.setdefault(
                service["name"], {"requests": 0, "failed": 0, "rate": 0.0, "p50": None, "p99": None, "alive": [0, 0]}
            )
            row["alive"][0] += sum(one["state"] == "up" for one in service["instances"])
            row["alive"][1] += len(service["instances"])
            if recent:
                row["requests"] += recent["requests"]
                row["failed"] += recent["errors"]
                row["rate"] += recent["rate"]
                for key in ("p50", "p99"):
                    row[key] = max((value for value in (row[key], recent[key]) if value is not None), default=None)
    return [
        {
            "service": name,
            "service_to": address("/services", service=name),
            "errors": row["failed"] / row["requests"] if row["requests"] else None,
            "up": "{}/{}".format(*row["alive"]),
            **row,
        }
        for name, row in found.items()
    ]


def _route_rows(nodes: list[Node]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for node in nodes:
        for name, recent in node.figures.recent().items():
            row = found.setdefault(name, {"rate": 0.0, "failed": 0.0, "turned": 0.0, "p50": None, "p99": None})
            row["rate"] += recent.rate
            row["failed"] += recent.errors * recent.rate
            row["turned"] += recent.refused * recent.rate
            for key, value in (("p50", recent.p50), ("p99", recent.p99)):
                row[key] = max((one for one in (row[key], value) if one is not None), default=None)
    return [
        {
            "route": name or "(no route)",
            "route_to": address("/routes", route=name),
            "errors": row["failed"] / row["rate"],
            "refused": row["turned"] / row["rate"],
            **row,
        }
        for name, row in found.items()
    ]


def _badness(row: dict[str, Any]) -> tuple[float, float]:
    return row["failed"], row["rate"]
