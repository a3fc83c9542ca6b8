"""`pylae rollback`: puts an old configuration in force again."""

from __future__ import annotations

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote
from pylae.cli.rollouts import begun


@click.command(short_help="Put an old configuration in force again.")
@click.argument("number", type=click.IntRange(1, 10**10 - 1))
@click.option("--reason", metavar="TEXT", help="Why, for the history.")
@click.option("--wait", is_flag=True, help="Wait for the end of the roll-out, if gateways share a store.")
@click.option("--now", is_flag=True, help="For all these gateways at once, without observing the first one.")
@options
def rollback(gateway: Remote, number: int, reason: str | None, wait: bool, now: bool) -> None:
    """Put the configuration of entry NUMBER of the history in force again. This makes a new entry.

    It outlives a restart, and stays in force until the configuration file changes: change the file too. The history has
    no secrets: those that are in force now are used. If one of them is missing, or would be sent elsewhere than now,
    nothing is changed, and the exit code is 1.

    If gateways share a store, this begins a roll-out to all of them, as `pylae apply` does.
    """
    given = "true" if now else None
    outcome = gateway.post(f"/history/{number}/rollback", match="*", reason=reason, now=given)
    if begun(gateway, outcome, wait):
        return
    click.echo(f"{click.style('ok', fg='green')} entry {number} is in force again, as revision {outcome['revision']}")
    click.echo("it outlives a restart, and stays in force until the configuration file changes")
