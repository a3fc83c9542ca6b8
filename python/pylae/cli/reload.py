"""`pylae reload`: makes a running gateway read its configuration again."""

from __future__ import annotations

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote


@click.command(short_help="Make a running gateway read its file again.")
@click.option("--reason", metavar="TEXT", help="Why, for the history.")
@options
def reload(gateway: Remote, reason: str | None) -> None:
    """Make a running gateway read its configuration file again. This replaces a configuration applied over the admin
    API.

    A configuration with problems changes nothing: all problems are printed, and the exit code is 1.
    """
    outcome = gateway.post("/config/reload", reason=reason)
    click.echo(f"{click.style('ok', fg='green')} applied revision {outcome['revision']}")
