"""What the demo prints, with one gateway or several: lines of requests, tokens, and how to call `pylae`."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click


@dataclass(frozen=True)
class Tokens:
    """Tokens of a customer and of an admin."""

    user: str
    admin: str


def tokens(configuration: Path) -> Tokens:
    """Returns tokens that the gateway of the demo accepts for an hour."""
    from pylae.auth import User, issue_token
    from pylae.gateway import Gateway

    config = Gateway.from_file(configuration).config
    people = (User("1", "customer", "ada@example.com"), User("3", "admin", "root@example.com"))
    return Tokens(*(issue_token(person, config=config) for person in people))


def exports(tokens: Tokens) -> Sequence[str]:
    """Returns the shell commands that set the variables for the commands to try."""
    return f"export TOKEN={tokens.user}", f"export ADMIN={tokens.admin}"


def tell_services(services: Mapping[str, str]) -> None:
    """Prints the addresses of the services, which go by the variables of the configuration."""
    click.echo("\nThe services:")
    for variable, url in services.items():
        click.echo(f"  {variable.removesuffix('_URL').lower().replace('_', '-'):15}{url}")


def tell_commands(made: Tokens, commands: Sequence[tuple[str, str]]) -> None:
    """Prints commands to try, each with an explanation, and the tokens that they need."""
    click.echo("\nIn another terminal, the tokens of Ada (user 1, a customer) and of an admin, good for an hour:\n")
    for line in exports(made):
        click.echo(click.style(line, fg="green"))
    click.echo("\nTry these there:")
    for number, (meaning, command) in enumerate(commands, 1):
        click.echo(f"\n  {number}. {meaning}\n     {click.style(command, fg='green')}")


def of_gateway(exchange: Mapping[str, Any]) -> str:
    """Returns the line for a request, from the view of a gateway."""
    from pylae.cli.foreground import at, described

    return f"{at(exchange)}  {described(exchange)}  {exchange['request_id']}"


def tell_record(record: dict[str, object]) -> None:
    """Prints the line for a request, from the view of a service."""
    from pylae.cli.foreground import described

    if "ended" in record:
        click.secho(f"{record['instance']} ended unexpectedly with code {record['ended']}", fg="red", err=True)
        return
    exchange = {
        "status": int(str(record["status"])),
        "duration": float(str(record["ms"])) / 1000,
        "method": record["method"],
        "path": record["target"],
        "service": f"(answered by {record['instance']})",
        **dict.fromkeys(("query", "route", "instance", "code")),
    }
    tell(f"{time.strftime('%H:%M:%S')}  {described(exchange)}  {record['request_id'] or ''}".rstrip())


def tell(line: str) -> None:
    """Prints a line, unless nobody reads any more."""
    with contextlib.suppress(OSError):
        click.echo(line)


def program() -> str:
    """Returns how a shell of the same user can call this command."""
    called = Path(sys.argv[0]).absolute()
    if called.name != "pylae":
        return f"{shlex.quote(sys.executable)} -m pylae"
    return "pylae" if shutil.which("pylae") == str(called) else shlex.quote(str(called))
