"""`pylae tail`: shows exchanges as they end."""

from __future__ import annotations

import json
from typing import Any

import click

from pylae.cli.foreground import described
from pylae.cli.options import options
from pylae.cli.remote import Remote


@click.command(short_help="Watch requests as they end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, as in the access log.")
@click.option("--route", help="Only requests to this route.")
@click.option("--service", help="Only requests to this service.")
@click.option("--errors", is_flag=True, help="Only requests with status 400 and above.")
@options
def tail(gateway: Remote, as_json: bool, route: str | None, service: str | None, errors: bool) -> None:
    """Print the requests of a running gateway as they end, until Ctrl-C. Credentials are masked.

    If there are too many, some are left out and their number is printed.
    """
    wanted = {key: value for key, value in (("route", route), ("service", service)) if value}
    for event, data in gateway.events("/exchanges/tail"):
        if event == "missed":
            click.echo(f"… {data} left out", err=True)
            continue
        exchange = json.loads(data)
        if (not errors or exchange["status"] >= 400) and all(exchange[key] == wanted[key] for key in wanted):
            click.echo(data if as_json else line(exchange))


def line(exchange: dict[str, Any]) -> str:
    """Returns an exchange as a line for people."""
    return f"{exchange['timestamp'][11:23]}  {described(exchange)}"
