"""The options that say which running gateway a command means."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from pylae.cli.remote import CA, CERT, KEY, TOKEN, Identity

C = TypeVar("C", bound=Callable[..., Any])


def options(verb: C) -> C:
    """Adds these options to a verb, and passes it a `Remote` as `gateway`."""

    @functools.wraps(verb)
    def with_gateway(
        config: str | None,
        state: str | None,
        admin: str | None,
        token_file: str | None,
        ca: str | None,
        cert: str | None,
        key: str | None,
        **rest: Any,
    ) -> Any:
        from pylae.cli.find import find

        return verb(gateway=find(config, state, admin, token_file, Identity(ca, cert, key)), **rest)

    token_file = click.option(
        "--token-file",
        metavar="FILE",
        type=click.Path(),
        help=f"File with the admin token. Or set the variable {TOKEN}.",
    )
    with_gateway = tls(token_file(with_gateway))
    for option in (
        click.option(
            "--admin",
            metavar="ADDRESS",
            help="Address of the admin API: ip:port, https://host:port or unix:/path. Or set PYLAE_ADMIN.",
        ),
        click.option("--state", metavar="DIR", type=click.Path(), help="State folder of the gateway."),
        click.option(
            "-c",
            "--config",
            metavar="FILE",
            type=click.Path(),
            help="The configuration that it was started with. Default: the gateway of this directory.",
        ),
    ):
        with_gateway = option(with_gateway)
    return with_gateway  # type: ignore[return-value]


def tls(verb: C) -> C:
    """Adds the options `ca`, `cert` and `key`, which name files for TLS."""
    for option in (
        click.option(
            "--key", metavar="FILE", type=click.Path(), envvar=KEY, help=f"Private key of --cert. Or set {KEY}."
        ),
        click.option(
            "--cert",
            metavar="FILE",
            type=click.Path(),
            envvar=CERT,
            help=f"Certificate for an admin API that asks for one. Or set {CERT}.",
        ),
        click.option(
            "--ca",
            metavar="FILE",
            type=click.Path(),
            envvar=CA,
            help=f"Authorities that the certificate of the admin API may be from. Or set {CA}.",
        ),
    ):
        verb = option(verb)
    return verb
