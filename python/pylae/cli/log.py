"""`pylae log`: levels and format of the gateway's own log, changed for a while without a reload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote
from pylae.cli.report import USAGE, Failure
from pylae.cli.table import columns


@click.command(short_help="Show or change the levels of the gateway's log.")
@click.option(
    "--level", "levels", multiple=True, metavar="[AREA=]LEVEL", help="Change the level, of one area or of all."
)
@click.option("--format", "style", metavar="FORMAT", help="Write lines as text or json.")
@click.option("--for", "lasting", metavar="DURATION", help="How long, at most 1d. Default: 10m.")
@click.option("--reset", is_flag=True, help="End all changes.")
@options
def log(gateway: Remote, levels: tuple[str, ...], style: str | None, lasting: str | None, reset: bool) -> None:
    """Show the level of each area of the gateway's own log, or change levels and format for a while.

    \b
    pylae log --level upstream=debug --level health=debug --for 10m
    pylae log --level warning
    pylae log --reset

    Levels are debug, info, warning and error. With debug, the data plane logs each step of each request in that area.
    When the time is over, all is as configured again.
    """
    order = _order(levels, style)
    if reset:
        if order or lasting:
            raise Failure("--reset goes alone", "pylae log --help", USAGE)
        changed = gateway.post("/log", method="DELETE")["changed"]
        click.echo("the log is as configured again" if changed else "nothing was changed")
        return
    if lasting and not order:
        raise Failure("--for needs --level or --format", "pylae log --help", USAGE)
    if order:
        _show(gateway.post("/log", {**order, **({"lasting": lasting} if lasting else {})}, "PUT"))
    else:
        _show(gateway.get("/log"))


def _order(levels: tuple[str, ...], style: str | None) -> dict[str, Any]:
    order: dict[str, Any] = {"format": style} if style else {}
    for one in levels:
        area, equals, level = one.partition("=")
        if equals:
            order.setdefault("areas", {})[area] = level
        else:
            order["level"] = one
    return order


def _show(state: Mapping[str, Any]) -> None:
    changes = {one["what"]: one for one in state["changes"]}
    rows = []
    for what, value in (*state["areas"].items(), ("format", state["format"])):
        change = changes.get(what) or (changes.get("level") if what != "format" else None)
        rows.append((what, value, *((change["until"], change["by"]) if change else ("", ""))))
    for line in columns(("AREA", "LEVEL", "UNTIL", "BY"), rows):
        click.echo(line)
