"""`pylae drain`: let an instance finish what it has."""

from __future__ import annotations

import time

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote, part
from pylae.cli.report import Failure

_LOOK = 0.2


@click.command(short_help="Let an instance finish and give it nothing more.")
@click.argument("service")
@click.argument("instance")
@click.option("--undo", is_flag=True, help="Use it again.")
@click.option("--wait", type=click.FloatRange(0), metavar="SECONDS", help="Wait so long until nothing is under way.")
@options
def drain(gateway: Remote, service: str, instance: str, undo: bool, wait: float | None) -> None:
    """Give the INSTANCE (host:port) of SERVICE nothing more; what is under way finishes. It stays so over reloads.

    With --wait it returns when the instance can be stopped, or fails when the time is over.
    """
    name = instance.partition("//")[2] or instance
    path = f"/services/{part(service)}/instances/{part(name)}/drain"
    if undo:
        gateway.post(path, method="DELETE")
        click.echo(f"{name} is used again")
        return
    under_way, end = gateway.post(path)["in_flight"], time.monotonic() + (wait or 0)
    while wait is not None and under_way:
        if time.monotonic() >= end:
            raise Failure(f"{name} still has {under_way} exchanges under way")
        time.sleep(_LOOK)
        found = gateway.get(f"/services/{part(service)}")["instances"]
        under_way = next((one["in_flight"] for one in found if one["id"] == name), 0)
    click.echo(f"{name} gets nothing more; {under_way} exchanges are under way")
