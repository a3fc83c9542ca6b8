"""`pylae demo --login`: the shop behind a login, and what to open in a browser."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

import click

from pylae.cli.report import Failure

EXTRA = "pylae[demo]"
"""What brings the provider."""
_PAGES = (
    ("/api/users/1", "Log in, as whom you like, and come back to what you have opened."),
    ("/api/users", "Only root, who is an admin, sees all users. Ada gets 403."),
    ("/oauth2/logout", "Log out, to log in as somebody else."),
)


def check(*, alone: bool) -> None:
    """Raises a failure if the demo cannot have a login; `alone` if it has one gateway."""
    if not alone:
        raise Failure("--login is for one gateway", "leave out --nodes and --store")
    if importlib.util.find_spec("oidc_provider_mock") is None:
        raise Failure("the OpenID provider of the demo is not installed", f"pip install '{EXTRA}'")


def authenticator(addresses: Mapping[str, str]) -> str:
    """Returns the lines of the configuration that ask the provider."""
    from pylae.demo.shop import PROVIDER

    issuer = addresses[PROVIDER[2]]
    return f"  oidc: {{issuer: {issuer!r}, client_id: shop, client_secret: what the provider does not look at}}\n"


def tell(gateway: str) -> None:
    """Prints what to open, and as whom one can log in."""
    from pylae.demo.provider import ACCOUNTS

    click.echo("\nOpen these in a browser:")
    for path, meaning in _PAGES:
        click.echo(f"\n  {click.style(gateway + path, bold=True)}\n     {meaning}")
    click.echo("\nThe accounts of the provider, which asks for no passwords:")
    for account in ACCOUNTS:
        click.echo(f"  {account.name:15}user {account.user_id}, role {account.role}")
