"""`pylae nodes`: the nodes of a cluster."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote
from pylae.cli.table import columns


@click.command(short_help="List the nodes of a cluster.")
@options
def nodes(gateway: Remote) -> None:
    """List the nodes of the cluster that live, as the running gateway sees them, and what they disagree about."""
    found = gateway.get("/nodes")
    away = "" if found["available"] else ", the store is not available: what follows is old"
    click.echo(f"cluster {found['cluster']}{away}")
    if found["problem"]:
        click.secho(found["problem"], fg="yellow")
    rows = []
    for one in found["nodes"]:
        up = datetime.now(UTC) - datetime.fromisoformat(one["started"])
        trip = "" if one["round_trip"] is None else f"{one['round_trip'] * 1e3:.2f} ms"
        told = (one["version"], one["configuration"], f"{max(0, int(up.total_seconds()))} s", trip)
        rows.append((one["name"] + " (this one)" * one["this"], *told, f"{one['silent']:.1f} s ago"))
    for line in columns(("NODE", "VERSION", "CONFIGURATION", "UP", "ROUND TRIP", "SEEN"), rows):
        click.echo(line)
    for disagreement in found["disagreements"]:
        click.secho(disagreement, fg="yellow")
