"""`pylae maintenance`: switches a route, a service or the gateway to 503, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote, part
from pylae.cli.report import USAGE, Failure
from pylae.cli.table import columns

C = TypeVar("C", bound=Callable[..., Any])


def _what(verb: C) -> C:
    """Adds the options that say what is switched."""
    service = click.option("--service", metavar="NAME", help="Switch this service instead of the gateway.")
    return service(click.option("--route", metavar="NAME", help="Switch this route instead of the gateway.")(verb))


@click.group(short_help="Answer requests 503 for a while, without a reload.")
def maintenance() -> None:
    """Switch a route, a service or the whole gateway to 503 with a text, and back. It outlives reloads and restarts."""


@maintenance.command(short_help="Answer requests 503 from now on.")
@_what
@click.option("--text", metavar="TEXT", help="What clients are told.")
@click.option("--retry-after", metavar="DURATION", help="When clients may try again, e.g. 10m. Default: 1m.")
@options
def on(gateway: Remote, service: str | None, route: str | None, text: str | None, retry_after: str | None) -> None:
    """Answer requests 503 from now on, with a text. Without --service and --route, all requests.

    Requests in progress finish. Health checks of instances go on, and the gateway stays ready.
    """
    path, name = _place(service, route)
    told: dict[str, Any] = {} if text is None else {"text": text}
    if retry_after is not None:
        told["retry_after"] = retry_after
    changed = gateway.post(path, told, "PUT")["changed"]
    click.echo(f"{name} is switched to maintenance" if changed else f"{name} was switched to maintenance already")


@maintenance.command(short_help="Serve requests again.")
@_what
@options
def off(gateway: Remote, service: str | None, route: str | None) -> None:
    """Serve requests again. What has a switch of its own stays switched."""
    path, name = _place(service, route)
    changed = gateway.post(path, method="DELETE")["changed"]
    click.echo(f"the maintenance of {name} has ended" if changed else f"{name} was not switched to maintenance")
    for one in gateway.get("/maintenance")["switches"] if changed else ():
        click.echo(f"still switched: {one['scope']} {one['name']}".rstrip())


@maintenance.command("list", short_help="List what is switched.")
@options
def listed(gateway: Remote) -> None:
    """List what is switched to maintenance, since when, and by whom."""
    found = gateway.get("/maintenance")
    if found["trouble"]:
        click.echo(f"the store cannot be read, so nothing changes: {found['trouble']}")
    if not found["switches"]:
        click.echo("nothing is switched to maintenance")
        return
    rows = [
        (
            f"{one['scope']} {one['name']}".rstrip() + ("" if one["known"] else " (unknown)"),
            one["since"],
            one["by"],
            f"{one['retry_after']} s",
            one["text"],
        )
        for one in found["switches"]
    ]
    for line in columns(("WHAT", "SINCE", "BY", "RETRY AFTER", "TEXT"), rows):
        click.echo(line)


def _place(service: str | None, route: str | None) -> tuple[str, str]:
    """Returns the path of a switch in the admin API, and its name for people."""
    if service is not None and route is not None:
        raise Failure("give --service or --route, not both", "pylae maintenance --help", USAGE)
    if service is not None:
        return f"/maintenance/services/{part(service)}", f"service {service}"
    if route is not None:
        return f"/maintenance/routes/{part(route)}", f"route {route}"
    return "/maintenance", "the gateway"
