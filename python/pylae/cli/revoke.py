"""`pylae revoke`: refuses a token, or what a user was issued."""

from __future__ import annotations

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote
from pylae.cli.report import USAGE, Failure


@click.command(short_help="Refuse a token, or all that a user was issued.")
@click.option("--user", metavar="ID", help="Refuse whatever this user was issued up to now.")
@click.option("--jti", metavar="JTI", help="Refuse the token with this jti.")
@click.option("--ttl", default="30d", show_default=True, help="How long; the longest lifetime of a token is enough.")
@options
def revoke(gateway: Remote, user: str | None, jti: str | None, ttl: str) -> None:
    """Refuse a token, or all tokens that a user was issued so far. Give exactly one of --user and --jti.

    It takes effect at once, and soon on all nodes of a cluster. Without a cluster it ends when the gateway stops.
    """
    given = {name: value for name, value in (("user", user), ("jti", jti)) if value}
    if len(given) != 1:
        raise Failure("exactly one of --user and --jti is required", "pylae revoke --help", USAGE)
    told = gateway.post("/revocations", {**given, "ttl": ttl})
    click.echo("revoked; the store is away: other nodes learn of it once it is back" if told["delayed"] else "revoked")
