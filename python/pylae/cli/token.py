"""`pylae token`: a JSON Web Token for the configured key."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from pylae.cli.run import DEFAULTS


class Span(click.ParamType[timedelta]):
    """A span of time as in the configuration."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Reads "30m", "1h" or seconds."""
        from pylae.units import parse_duration

        try:
            span = parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return span


@click.command(short_help="Make a token for a user.")
@click.argument("file", required=False, type=click.Path())
@click.option("--user", required=True, metavar="ID", help="The user's id.")
@click.option("--role", default="", help="The user's role.")
@click.option("--email", default="", help="The user's mail address.")
@click.option("--permission", "permissions", multiple=True, metavar="NAME", help="What the user may do; repeatable.")
@click.option("--ttl", type=Span(), default="1h", help="How long it is good, e.g. 15m. Default: 1h.")
def token(file: str | None, user: str, role: str, email: str, permissions: tuple[str, ...], ttl: timedelta) -> None:
    """Print a JSON Web Token that the gateway of the configuration FILE accepts.

    Without FILE it is pylae.yaml, or else gateway.py, of this directory. It is signed with `auth.jwt.secret`; where no
    authenticator is configured, with PYLAE_JWT_SECRET, JWT_SECRET, or the secret that is generated at the first start
    of a gateway, or here before that.

    \b
      curl -H "Authorization: Bearer $(pylae token --user 1 --role admin)" http://127.0.0.1:8080/api/orders
    """
    from pylae.auth import User, issue_token
    from pylae.gateway import Gateway

    file = file or next((name for name in DEFAULTS if Path(name).exists()), None)
    config = Gateway.from_file(file).config if file else None
    click.echo(issue_token(User(user, role, email, permissions), config=config, ttl=ttl))
