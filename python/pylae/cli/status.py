"""`pylae status`: the health of a running gateway."""

from __future__ import annotations

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote
from pylae.cli.table import columns

_COLOURS = {"healthy": "green", "degraded": "yellow", "unhealthy": "red"}


@click.command(short_help="Show the health of a running gateway.")
@options
def status(gateway: Remote) -> None:
    """Show the health of a running gateway and the reasons, its services, instances and circuit breakers.

    Exits with 1 if it is unhealthy.
    """
    found, verdict = gateway.get("/status"), gateway.get("/health", always="true")
    health = click.style(verdict["status"], fg=_COLOURS[verdict["status"]], bold=True)
    click.echo(f"{health}  listening on {', '.join(found['listeners'])}, process {found['pid']}")
    for reason in verdict["reasons"]:
        click.echo(f"  {reason}")
    if verdict["maintenance"]:
        click.echo(f"  switched to maintenance: {', '.join(verdict['maintenance'])}")
    source = f"applied over the admin API, replaces {found['source']}" if found["overridden"] else found["source"]
    click.echo(f"configuration: {source}, revision {found['revision']}")
    if cluster := found["cluster"]:
        others = {1: "alone", 2: "with one other"}.get(cluster["nodes"], f"with {cluster['nodes'] - 1} others")
        store = "store connected" if cluster["available"] else "store not available"
        if 0 < cluster["connected"] < cluster["servers"]:
            store = f"{cluster['connected']} of {cluster['servers']} servers of the store connected"
        click.echo(f"cluster: {cluster['name']}, node {cluster['node']} {others}, {store}")
    if hosts := found["hook_hosts"]:
        warm = sum(host["state"] == "warm" for host in hosts)
        memory = sum(host["memory"] for host in hosts) / 1024**2
        click.echo(f"hooks: in {len(hosts)} hook hosts, {warm} of them ready, {memory:.0f} MB")
    breakers = {(one["service"], one["instance"]): one["state"] for one in gateway.get("/breakers")}
    rows = []
    for service in gateway.get("/services"):
        for one in service["instances"] or [None]:
            breaker = breakers.get((service["name"], None)) or breakers.get((service["name"], one and one["url"]), "")
            told = ("url", "source", "state", "in_flight", "attempts", "failures")
            rows.append((service["name"], *(str(one[key]) if one else "" for key in told), breaker))
    click.echo()
    for line in columns(("SERVICE", "INSTANCE", "FROM", "STATE", "IN FLIGHT", "ATTEMPTS", "FAILURES", "BREAKER"), rows):
        click.echo(line)
    if verdict["status"] == "unhealthy":
        raise SystemExit(1)
