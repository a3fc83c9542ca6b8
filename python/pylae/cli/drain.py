"""`pylae drain`: takes an instance out of use."""

from __future__ import annotations

import time

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote, part
from pylae.cli.report import Failure

_LOOK = 0.2


@click.command(short_help="Send no new requests to an instance.")
@click.argument("service")
@click.argument("instance")
@click.option("--undo", is_flag=True, help="Use the instance again.")
@click.option(
    "--wait", type=click.FloatRange(0), metavar="SECONDS", help="Wait up to this long for its requests to finish."
)
@options
def drain(gateway: Remote, service: str, instance: str, undo: bool, wait: float | None) -> None:
    """Send no new requests to the INSTANCE (host:port) of SERVICE. Requests in progress finish. Reloads do not end it.

    With --wait, return when the instance can be stopped, or fail after that time.
    """
    from pylae.units import counted

    name = instance.partition("//")[2] or instance
    path = f"/services/{part(service)}/instances/{part(name)}/drain"
    if undo:
        gateway.post(path, method="DELETE")
        click.echo(f"{name} gets requests again")
        return
    under_way, end = gateway.post(path)["in_flight"], time.monotonic() + (wait or 0)
    while wait is not None and under_way:
        if time.monotonic() >= end:
            raise Failure(f"{name} still has {counted(under_way, 'requests')} in progress")
        time.sleep(_LOOK)
        found = gateway.get(f"/services/{part(service)}")["instances"]
        under_way = next((one["in_flight"] for one in found if one["id"] == name), 0)
    click.echo(f"{name} gets no new requests; {counted(under_way, 'requests')} in progress")
