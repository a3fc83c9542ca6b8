"""The history: what was in force, who put it there and why, what was refused, and the way back."""

from __future__ import annotations

from typing import Any

from nicegui import events, ui

from pylae.access.scopes import CONFIGURE
from pylae.dashboard import shown
from pylae.dashboard.client import RefusedError, UnreachableError
from pylae.dashboard.configuration import changes, values
from pylae.dashboard.dialogs import dialog
from pylae.dashboard.nodes import Node
from pylae.dashboard.single import address
from pylae.dashboard.table import Column, Table
from pylae.dashboard.view import View

_COLUMNS = (
    Column("number", "Entry", "link"),
    Column("at", "When", show=shown.when),
    Column("author", "Who"),
    Column("how", "How"),
    Column("what", "What"),
    Column("reason", "Why"),
    Column("outcome", "Outcome", "state"),
)
_IN_FORCE = "what is in force"
_TONES = {"refused": "bad", "taken_back": "bad", "cancelled": "warn", "done": "good"}
_SHOWN = 3
"""Paths of changes that a line of the table has."""


async def show(view: View, node: Node) -> None:
    """Builds this part of the page. `entry` in its address is shown in full, `before` is where the list begins."""
    number, before = (_number(view.query.get(name)) for name in ("entry", "before"))
    if number is not None:
        await _entry(view, node, number)
    table = Table(_COLUMNS, key="id", search="Search in this list", label="History", empty="Nothing was recorded yet.")
    said = ui.label("").classes("faint")
    older = ui.link("Older entries", "")
    page: dict[str, Any] = {}

    def update() -> None:
        listed = page or node.value("history") or {"entries": [], "more": False}
        refused = [] if before else _refused(node)
        rows = [_row(entry, view) for entry in listed["entries"]] + refused
        table.rows = sorted(rows, key=lambda row: str(row["at"] or ""), reverse=True)
        older.set_visibility(bool(listed["more"]))
        if listed["more"]:
            last = str(listed["entries"][-1]["number"])
            to = address("/configuration", tab="history", node=view.query.get("node"), before=last)
            older.props["href"] = to
        seen = node.seen("history")
        said.set_text(seen.refused if seen is not None and seen.refused else "")

    if before is not None:
        try:
            page = await view.ask(node, "/history", query={"before": str(before), "limit": "50"})
        except (RefusedError, UnreachableError) as error:
            view.complain(f"{node.name}: {error}")
    await view.follow(("history", "audit"), update)


def _row(entry: dict[str, Any], view: View) -> dict[str, Any]:
    number = entry["number"]
    to = address("/configuration", tab="history", node=view.query.get("node"), entry=str(number))
    if "damage" in entry:
        return {"id": str(number), "number": number, "number_to": to, "at": None, "what": f"damaged: {entry['damage']}"}
    outcome = entry["outcome"]
    returns = f" to {entry['returns_to']}" if entry["returns_to"] else ""
    return {
        "id": str(number),
        "number": number,
        "number_to": to,
        "at": entry["at"],
        "author": entry["author"],
        "how": entry["how"] + returns,
        "what": _summary(entry),
        "reason": entry["reason"],
        "outcome": outcome,
        "outcome_tone": _TONES.get(outcome or "", "faint"),
    }


def _summary(entry: dict[str, Any]) -> str:
    paths = [change["path"] for change in entry["changes"][:_SHOWN]]
    total = entry["count"] if entry["count"] is not None else len(entry["changes"])
    more = f" and {total - len(paths)} more" if total > len(paths) else ""
    return f"{shown.listed(paths)}{more}" if paths else "the same configuration"


def _refused(node: Node) -> list[dict[str, Any]]:
    """What was handed in and not taken. The history has only what was in force."""
    lines = (node.value("audit") or {"lines": []})["lines"]
    return [
        {
            "id": line["id"],
            "number": None,
            "at": line["time"],
            "author": line["who"],
            "how": "rollback" if line["path"].startswith("/history") else "admin",
            "what": line["detail"],
            "reason": line["arguments"].get("reason"),
            "outcome": "refused",
            "outcome_tone": "bad",
        }
        for line in lines
        if line["status"] >= 400 and line["path"].startswith(("/config", "/history"))
    ]


async def _entry(view: View, node: Node, number: int) -> None:
    """Builds what is said of one entry."""
    try:
        entry = await view.ask(node, f"/history/{number}")
        listed = await view.ask(node, "/history", query={"limit": "50"})
    except (RefusedError, UnreachableError) as error:
        ui.label(f"Entry {number}: {error}").classes("bad").props("role=alert")
        return
    with ui.element("section").classes("card part").props(f'aria-label="Entry {number}"'):
        title = f"Entry {number}: {shown.when(entry['at'])}, by {entry['author']} ({entry['how']})"
        ui.label(title).classes("subtitle").props("role=heading aria-level=2")
        if entry["reason"]:
            ui.label(f"Why: {entry['reason']}")
        options = [
            "the entry before",
            _IN_FORCE,
            *(f"entry {n}" for one in listed["entries"] if (n := one["number"]) != number),
        ]
        with ui.element("div").classes("bar"):
            choice = ui.select(options, value=options[0], label="Compare with").props("dense outlined options-dense")
            choice.classes("which")
            view.button(f"Roll back to {number}", node, CONFIGURE, lambda: _roll_back(view, node, number), icon="undo")
        difference = ui.element("div")

        async def compare(event: events.ValueChangeEventArguments[Any]) -> None:
            difference.clear()
            chosen = str(event.value)
            with difference:
                if chosen == options[0]:
                    _changed(entry, number)
                else:
                    await _compared(view, node, number, None if chosen == _IN_FORCE else int(chosen.split()[1]))

        with difference:
            _changed(entry, number)
        choice.on_value_change(compare)


def _changed(entry: dict[str, Any], number: int) -> None:
    changes.show(entry["changes"], entry["count"], before="Before", after=f"Entry {number}")


async def _compared(view: View, node: Node, number: int, other: int | None) -> None:
    query = None if other is None else {"other": str(other)}
    try:
        found = await view.ask(node, f"/history/{number}/diff", query=query)
    except (RefusedError, UnreachableError) as error:
        ui.label(f"{node.name}: {error}").classes("bad").props("role=alert")
        return
    after = "In force" if other is None else f"Entry {other}"
    changes.show(found["changes"], found["count"], before=f"Entry {number}", after=after)


async def _roll_back(view: View, node: Node, number: int) -> None:
    """Shows what would change, asks why, and puts the entry in force again."""
    try:
        # The revision first: if another one comes in between, the rollback is refused.
        revision = (await view.ask(node, "/status"))["revision"]
        found = await view.ask(node, f"/history/{number}/diff")
    except (RefusedError, UnreachableError) as error:
        view.complain(f"{node.name}: {error}")
        return
    with dialog(f"Roll {node.name} back to entry {number}?", wide=True) as asked:
        ui.label("Secrets stay as they are now. It counts until the configuration file changes: change the file too.")
        changes.show(changes.reversed_(found["changes"]), found["count"], before="In force", after=f"Entry {number}")
        reason = ui.input("Why, for the history").props("dense outlined autofocus maxlength=500").classes("w-full")
        said = ui.element("div")

        async def go() -> None:
            text = str(reason.value or "").strip()
            query = {"reason": text[:500]} if text else None
            try:
                outcome = await view.ask(
                    node, f"/history/{number}/rollback", method="POST", match=f'"{revision}"', query=query
                )
            except RefusedError as error:
                said.clear()
                with said:
                    ui.label(f"Refused: {error.detail}").classes("bad").props("role=alert")
                    for problem in error.problems:
                        ui.label(values.flaw(problem)).classes("bad")
                return
            except UnreachableError as error:
                view.complain(f"{node.name} {error}")
                return
            asked.submit(outcome)

        with ui.row().classes("w-full justify-end"):
            ui.button("Cancel", on_click=lambda: asked.submit(None)).props("flat no-caps")
            ui.button("Roll back", on_click=go).props("no-caps")
    outcome = await asked
    asked.delete()
    if outcome is not None:
        begun = f"Roll-out {outcome['rollout']} has begun" if outcome.get("rollout") else "In force again"
        ui.notify(f"{begun}: entry {number}", type="positive", position="top")
        node.refresh()


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and 0 < len(text) < 11 else None
