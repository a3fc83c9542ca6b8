"""`pylae reload`: have a running gateway read its configuration again."""

from __future__ import annotations

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote


@click.command(short_help="Have a running gateway read its file again.")
@options
def reload(gateway: Remote) -> None:
    """Have a running gateway read its configuration file again, which ends what was applied over the admin API.

    All or nothing: a configuration with problems changes nothing, all of them are printed, and the exit code is 1.
    """
    outcome = gateway.post("/config/reload")
    click.echo(f"{click.style('ok', fg='green')} revision {outcome['revision']} is in force")
