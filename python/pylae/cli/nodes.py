"""`pylae nodes`: the nodes of a cluster, and those that follow a shared store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from pylae.cli.changes import clean
from pylae.cli.options import options
from pylae.cli.remote import Remote
from pylae.cli.report import Failure
from pylae.cli.table import columns


@click.command(short_help="List the nodes of a cluster or a fleet.")
@options
def nodes(gateway: Remote) -> None:
    """List the nodes that live, as the running gateway sees them.

    Of nodes that follow a shared store: what they have in force, what they should have, and why they do not. Of nodes
    of a cluster: what they disagree about.
    """
    shown = [(_fleet, _found(gateway, "/fleet")), (_cluster, _found(gateway, "/nodes"))]
    parts = [(show, found) for show, found in shown if found is not None]
    if not parts:
        raise Failure(
            "this gateway is not a node of a cluster, nor of a fleet", "give it `cluster` or a shared `store`"
        )
    for show, found in parts:
        show(found)


def _found(gateway: Remote, path: str) -> Any:
    """Returns what is there; None if the gateway has no such thing."""
    try:
        return gateway.get(path)
    except Failure as error:
        if error.status == 404:
            return None
        raise


def _fleet(found: Any) -> None:
    away = "" if found["available"] else ", the store is not available: what follows is old"
    head = f"configuration {found['head']}" if found["head"] else "no configuration yet"
    click.echo(f"fleet with {head}{away}")
    if found["problem"]:
        click.secho(found["problem"], fg="yellow")
    rows = []
    for one in found["nodes"]:
        share = f"{one['errors'] / one['requests']:.1%}" if one["requests"] else ""
        counts = (str(one["requests"]), share)
        name = clean(one["name"]) + " (this one)" * one["this"]
        rows.append(
            (name, clean(one["version"]), str(one["in_force"]), str(one["target"]), _doing(one), _up(one), *counts)
        )
    for line in columns(("NODE", "VERSION", "IN FORCE", "TARGET", "STATE", "UP", "REQUESTS", "5XX"), rows):
        click.echo(line)
    for one in found["nodes"]:
        for problem in one["problems"]:
            click.secho(clean(f"{one['name']} cannot have configuration {one['target']}: {problem}"), fg="yellow")
        if one["adds"]:
            click.echo(clean(f"{one['name']} adds in code: {', '.join(one['adds'])}"))
    if (rollout := found["rollout"]) and not rollout["ended"]:
        where = f", on {rollout['first']}" if rollout["first"] else ""
        click.echo(clean(f"configuration {rollout['number']} is being rolled out: {rollout['stage']}{where}"))


def _doing(node: Any) -> str:
    if node["in_force"] == node["target"]:
        return "follows"
    return "cannot follow" if node["problems"] else "is about to follow"


def _up(node: Any) -> str:
    up = datetime.now(UTC) - datetime.fromisoformat(node["started"])
    return f"{max(0, int(up.total_seconds()))} s"


def _cluster(found: Any) -> None:
    away = "" if found["available"] else ", the store is not available: what follows is old"
    click.echo(f"cluster {found['cluster']}{away}")
    if found["problem"]:
        click.secho(found["problem"], fg="yellow")
    rows = []
    for one in found["nodes"]:
        trip = "" if one["round_trip"] is None else f"{one['round_trip'] * 1e3:.2f} ms"
        told = (one["version"], one["configuration"], _up(one), trip)
        rows.append((one["name"] + " (this one)" * one["this"], *told, f"{one['silent']:.1f} s ago"))
    for line in columns(("NODE", "VERSION", "CONFIGURATION", "UP", "ROUND TRIP", "SEEN"), rows):
        click.echo(line)
    for disagreement in found["disagreements"]:
        click.secho(disagreement, fg="yellow")
