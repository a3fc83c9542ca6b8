"""`pylae history`: what was put in force, by whom, when and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from pylae.cli.changes import clean, lines, summary
from pylae.cli.options import options
from pylae.cli.remote import Remote
from pylae.cli.table import columns

_PAGE = 100


@click.command(short_help="List what was put in force, by whom and why.")
@click.argument("number", type=click.IntRange(1, 10**10 - 1), required=False)
@click.option("-n", "most", default=20, show_default=True, type=click.IntRange(min=1), help="How many entries.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@options
def history(gateway: Remote, number: int | None, most: int, as_json: bool) -> None:
    """List the configurations that were put in force, the latest first: number, time, who, how, what changed and why.

    With NUMBER, show this entry with all its changes. `pylae diff` compares two entries, and `pylae rollback` puts one
    in force again.
    """
    if number is not None:
        found = gateway.get(f"/history/{number}")
        click.echo(json.dumps(found, indent=2) if as_json else _shown(found))
        return
    entries = _entries(gateway, most)
    if as_json:
        click.echo(json.dumps(entries, indent=2))
        return
    for line in columns(("NUMBER", "WHEN", "WHO", "HOW", "CHANGED", "REASON"), [_row(one) for one in entries]):
        click.echo(line)


def _entries(gateway: Remote, most: int) -> list[Any]:
    entries: list[Any] = []
    more, before = True, dict[str, int]()
    while more and len(entries) < most:
        page = gateway.get("/history", limit=min(_PAGE, most - len(entries)), **before)
        entries += page["entries"]
        more = page["more"]
        before = {"before": entries[-1]["number"]} if entries else {}
    return entries


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    if "damage" in entry:
        return str(entry["number"]), "", "", "", "damaged: see --json", ""
    changed = summary(entry["changes"], entry["count"])
    return (
        str(entry["number"]),
        _when(entry),
        clean(entry["author"]),
        _how(entry),
        changed,
        clean(entry["reason"] or ""),
    )


def _shown(entry: Mapping[str, Any]) -> str:
    said = f"entry {entry['number']}  {_when(entry)}  {_how(entry)} by {clean(entry['author'])}"
    if entry["node"]:
        said += f", accepted by {clean(entry['node'])}"
    reason = [clean(entry["reason"])] if entry["reason"] else []
    return "\n".join([said, *reason, *lines(entry["changes"], entry["count"])])


def _how(entry: Mapping[str, Any]) -> str:
    how = f"{entry['how']} to {entry['returns_to']}" if entry["returns_to"] else str(entry["how"])
    outcome = entry["outcome"]
    return how if outcome in (None, "done") else f"{how}, {clean(outcome).replace('_', ' ')}"


def _when(entry: Mapping[str, Any]) -> str:
    return datetime.fromisoformat(entry["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
