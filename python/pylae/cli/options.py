"""The options by which a verb says which running gateway it means."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from pylae.cli.remote import TOKEN

C = TypeVar("C", bound=Callable[..., Any])


def options(verb: C) -> C:
    """Adds what says which gateway is meant, and hands the verb a `Remote` as `gateway`."""

    @functools.wraps(verb)
    def with_gateway(
        config: str | None, state: str | None, admin: str | None, token_file: str | None, **rest: Any
    ) -> Any:
        from pylae.cli.find import find

        return verb(gateway=find(config, state, admin, token_file), **rest)

    for option in (
        click.option(
            "--token-file",
            metavar="FILE",
            type=click.Path(),
            help=f"File with the token. Also: the variable {TOKEN}.",
        ),
        click.option("--admin", metavar="ADDRESS", help="Admin API, ip:port or unix:/path. Also: PYLAE_ADMIN."),
        click.option(
            "--state", metavar="DIR", type=click.Path(), help="State folder of the gateway, which has its socket."
        ),
        click.option(
            "-c",
            "--config",
            metavar="FILE",
            type=click.Path(),
            help="What it was started with. Default: the gateway of this directory. The file may be broken by now.",
        ),
    ):
        with_gateway = option(with_gateway)
    return with_gateway  # type: ignore[return-value]
