"""`pylae diff`: compares configurations of the history."""

from __future__ import annotations

import json

import click

from pylae.cli.changes import lines
from pylae.cli.options import options
from pylae.cli.remote import Remote

_NUMBER = click.IntRange(1, 10**10 - 1)


@click.command(short_help="Compare two configurations of the history.")
@click.argument("number", type=_NUMBER)
@click.argument("other", type=_NUMBER, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@options
def diff(gateway: Remote, number: int, other: int | None, as_json: bool) -> None:
    """Compare the configuration of entry NUMBER of the history with that of entry OTHER, or else with the one in force.

    A line with + is a setting that NUMBER does not have, one with - is a setting that it alone has. Secrets are
    (hidden), so it does not show that one of them differs.
    """
    found = gateway.get(f"/history/{number}/diff", **({} if other is None else {"other": other}))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for line in lines(found["changes"], found["count"]):
        click.echo(line)
