"""Limits and cache: who is near a limit, how a limit stands for one client, and what is cached."""

from __future__ import annotations

import asyncio
from typing import Any

from nicegui import ui

from pylae.access.scopes import OPERATE
from pylae.dashboard import shown
from pylae.dashboard.client import RefusedError, UnreachableError
from pylae.dashboard.near import Asked, candidates
from pylae.dashboard.nodes import Node
from pylae.dashboard.single import one_gateway
from pylae.dashboard.table import Column, Table
from pylae.dashboard.view import View

PATH = "/limits"
_LIMITS = (
    Column("route", "Route"),
    Column("policy", "Policy"),
    Column("name", "Limit"),
    Column("allows", "Allows"),
    Column("key", "Counted by"),
    Column("algorithm", "Algorithm"),
)
_NEAR = (
    Column("client", "Client"),
    Column("route", "Route"),
    Column("limit", "Limit"),
    Column("used", "Used", "number", lambda value: f"{value:.0%}"),
    Column("remaining", "Left", "number"),
    Column("reset", "All of it again in", "number", lambda value: f"{value:.0f} s"),
    Column("state", "State", "state"),
)
_PURGES = {
    "prefix": "URLs that begin with",
    "url": "One URL",
    "service": "Service",
    "tag": "Tag",
    "everything": "Everything",
}
_FULL, _NEARLY = 1.0, 0.8
_AT_ONCE = 4
"""Questions to a gateway at once."""


class _Near:
    """Clients of the latest exchanges that have used up much of a limit."""

    def __init__(self, view: View, node: Node) -> None:
        self._view, self._node, self._busy, self._asked_at = view, node, False, 0.0
        ui.label("Who is near a limit").classes("subtitle").props("role=heading aria-level=2")
        ui.label(
            "Of the clients in the latest exchanges, as the gateway keeps hashes of clients only. Limits that count by "
            "a header are not among them: look below."
        ).classes("faint")
        self.table = Table(_NEAR, key="id", sort="used", descending=True, label="Who is near a limit", empty="Nobody.")

    def update(self) -> None:
        """Asks about the clients of the latest exchanges, unless it is asking."""
        seen = self._node.seen("exchanges")
        if not self._busy and seen is not None and seen.value and seen.at - self._asked_at > 3.0:
            self._busy, self._asked_at = True, seen.at
            ui.timer(0, self._look, once=True)

    async def _look(self) -> None:
        try:
            limits = self._node.value("limits", {"limits": []})["limits"]
            asked = candidates(limits, self._node.value("exchanges", {"exchanges": []})["exchanges"])
            room = asyncio.Semaphore(_AT_ONCE)

            async def one(wanted: Asked) -> dict[str, Any] | None:
                async with room:
                    try:
                        standing = await self._view.ask(self._node, "/limits/look", method="POST", body=wanted.question)
                    except (RefusedError, UnreachableError):
                        # The limit is gone with another configuration, or the gateway: the page says so elsewhere.
                        return None
                    return _standing(wanted, standing)

            rows = [row for row in await asyncio.gather(*map(one, asked)) if row is not None]
            self.table.rows = [row for row in rows if row["used"] > 0]
        finally:
            self._busy = False


def _standing(asked: Asked, standing: dict[str, Any]) -> dict[str, Any]:
    limit, remaining = standing["limit"], standing["remaining"]
    used = 1 - remaining / limit if limit else 1.0
    state = "used up" if used >= _FULL else "near" if used >= _NEARLY else None
    return {
        "id": " ".join((asked.client, asked.question["route"], asked.question["policy"], asked.question["name"])),
        "client": asked.client,
        "route": asked.question["route"],
        "limit": f"{asked.question['name']} ({asked.question['policy']})",
        "used": used,
        "remaining": remaining,
        "reset": standing["reset"],
        "state": state,
        "state_tone": "bad" if used >= _FULL else "warn",
    }


class _Look:
    """How one limit stands for one client, and its reset."""

    def __init__(self, view: View, node: Node) -> None:
        self._view, self._node = view, node
        self._limits: dict[str, dict[str, Any]] = {}
        ui.label("Look at one client").classes("subtitle").props("role=heading aria-level=2")
        with ui.element("div").classes("bar"):
            self.limit = ui.select([], label="Limit", with_input=True).props("dense outlined options-dense")
            self.user = ui.input("User").props("dense outlined maxlength=1000")
            self.ip = ui.input("IP address").props("dense outlined maxlength=45")
            self.header = ui.input("Header, as name: value").props("dense outlined maxlength=1000")
            ui.button("Look", on_click=self._look, icon="search").props("outline no-caps dense").classes("action")
            view.button(
                "Reset", node, OPERATE, self._reset, icon="restart_alt", sure="Reset the limit for this client?"
            )
        self.said = ui.label("").props("role=status")

    def update(self) -> None:
        """Offers the limits that there are."""
        found = self._node.value("limits", {"limits": []})["limits"]
        self._limits = {f"{one['route']}: {one['name']} ({one['policy']})": one for one in found}
        names = list(self._limits)
        if self.limit.options != names:
            self.limit.set_options(names, value=self.limit.value if self.limit.value in names else None)

    def _holder(self) -> dict[str, Any] | None:
        if self.limit.value is None:
            self.said.set_text("Choose a limit.")
            return None
        chosen = self._limits[str(self.limit.value)]
        holder: dict[str, Any] = {key: chosen[key] for key in ("route", "policy", "name")}
        for key, field in (("user", self.user), ("ip", self.ip)):
            if text := str(field.value or "").strip():
                holder[key] = text
        name, colon, value = str(self.header.value or "").partition(":")
        if colon:
            holder["headers"] = {name.strip(): value.strip()}
        return holder

    async def _look(self) -> None:
        await self._ask("/limits/look")

    async def _reset(self) -> None:
        await self._ask("/limits/reset")

    async def _ask(self, path: str) -> None:
        if (holder := self._holder()) is None:
            return
        try:
            found = await self._view.ask(self._node, path, method="POST", body=holder)
        except (RefusedError, UnreachableError) as error:
            self.said.set_text(f"{self._node.name}: {error}")
            return
        reset = " It was reset." if found["forgotten"] else ""
        self.said.set_text(
            f"{found['remaining']:,} of {found['limit']:,} left, all of it again in {found['reset']:.0f} s.{reset}"
        )


class _Cache:
    """What the cache holds, and how to purge it."""

    def __init__(self, view: View, node: Node) -> None:
        self._view, self._node = view, node
        ui.label("Cache").classes("subtitle").props("role=heading aria-level=2")
        self.figures = ui.label("")
        with ui.element("div").classes("bar"):
            self.kind = ui.select(_PURGES, value="prefix", label="Purge").props("dense outlined options-dense")
            self.what = ui.input("Which").props("dense outlined maxlength=8192").classes("which")
            view.button("Purge", node, OPERATE, self._purge, icon="delete_sweep")
        self.what.bind_visibility_from(self.kind, "value", lambda kind: kind != "everything")
        self.said = ui.label("").props("role=status")

    def update(self) -> None:
        """Shows what the gateway last said."""
        found = self._node.value("cache")
        if found is None:
            return
        usage = found["usage"]
        if usage is None:
            self.figures.set_text("No route has a cache.")
            return
        served = found["exchanges"]
        looked = sum(served.values())
        share = f"{(served['hit'] + served['stale'] + served['revalidated']) / looked:.0%} of " if looked else ""
        self.figures.set_text(
            f"{shown.count(usage['entries'], 'answer')} in {shown.size(usage['bytes'])}. {share}"
            f"{shown.count(looked, 'request')} served from it: {served['hit']:,} hits, {served['stale']:,} stale, "
            f"{served['revalidated']:,} revalidated, {served['miss']:,} misses, {served['bypass']:,} bypassed."
        )

    async def _purge(self) -> None:
        kind, what = str(self.kind.value), str(self.what.value or "").strip()
        if kind != "everything" and not what:
            self._view.complain("Write what to purge.")
            return
        question = f"Purge {_PURGES[kind].lower()}{'' if kind == 'everything' else f' {what}'}?"
        if not await self._view.confirm(question, "Purge"):
            return
        body: dict[str, Any] = {kind: True if kind == "everything" else what}
        self.said.set_text("")
        answer = await self._view.act(self._node, "Purged", "/cache/purge", body=body)
        if answer is not None:
            self.said.set_text(f"{shown.count(answer['purged'], 'answer')} purged.")


async def show(view: View) -> None:
    """Builds the page."""
    node = one_gateway(view, PATH)
    near, look, cache = _Near(view, node), _Look(view, node), _Cache(view, node)
    ui.label("All limits").classes("subtitle").props("role=heading aria-level=2")
    table = Table(_LIMITS, key="id", search="Search limits", label="All limits", empty="No route has a limit.")
    memory = ui.label("").classes("faint")

    def update() -> None:
        found = node.value("limits") or {"limits": [], "keys": 0, "bytes": 0}
        table.rows = [
            {**one, "id": str(index), "allows": _allows(one), "key": shown.listed(one["key"])}
            for index, one in enumerate(found["limits"])
        ]
        memory.set_text(f"{shown.count(found['keys'], 'client')} counted in {shown.size(found['bytes'])}.")
        for part in (near, look, cache):
            part.update()

    await view.follow(("limits", "cache", "exchanges"), update)


def _allows(limit: dict[str, Any]) -> str:
    if limit["per"] is None:
        return f"{limit['limit']:,} at once"
    return f"{limit['limit']:,} in {limit['per']:g} s"
