"""`pylae token`: makes a JSON Web Token with the configured key."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from pylae.cli.run import DEFAULTS


class Span(click.ParamType[timedelta]):
    """A duration, as in the configuration."""

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
@click.option(
    "--permission", "permissions", multiple=True, metavar="NAME", help="A permission of the user; repeatable."
)
@click.option("--ttl", type=Span(), default="1h", help="How long the token is valid, e.g. 15m. Default: 1h.")
def token(file: str | None, user: str, role: str, email: str, permissions: tuple[str, ...], ttl: timedelta) -> None:
    """Print a JSON Web Token that the gateway of the configuration FILE accepts.

    The default FILE is pylae.yaml or else gateway.py in this directory.

    The token is signed with `auth.jwt.secret`. If no authenticator is configured, it is signed with PYLAE_JWT_SECRET,
    JWT_SECRET, or the secret that the first start of a gateway generates; if there is none yet, this command generates
    it.

    \b
      curl -H "Authorization: Bearer $(pylae token --user 1 --role admin)" http://127.0.0.1:8080/api/orders
    """
    from pylae.auth import User, issue_token
    from pylae.gateway import Gateway

    file = file or next((name for name in DEFAULTS if Path(name).exists()), None)
    config = Gateway.from_file(file).config if file else None
    click.echo(issue_token(User(user, role, email, permissions), config=config, ttl=ttl))
