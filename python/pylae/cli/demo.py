"""`pylae demo`: a sample shop behind a gateway, to play with."""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import Any

import click

from pylae.cli import log
from pylae.cli.report import Failure

PORT = 8080
ACCESS_LOG = "access.log"
"""File name of the access log, in the folder of the configuration."""


@click.command(short_help="Start a sample shop behind a gateway.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Port of the gateway; 0 picks a free one. Default: {PORT}, or a free one if it is taken.",
)
def demo(port: int | None) -> None:
    """Start four HTTP services and a gateway in front of them, and print commands to try.

    The services are users (two instances), orders, payments and notifications, each with an SQLite database in a
    temporary directory. Then print a line for each request, from the gateway and from each service. Ctrl-C stops
    everything and removes all files.
    """
    from pylae.demo.shop import Shop, ShopError

    log.to_standard_error()
    click.echo("Starting users (two instances), orders, payments and notifications …", err=True)
    try:
        with _interruptions() as interrupted, Shop(_tell) as shop:
            address = f"127.0.0.1:{_free_port(port)}"
            configuration = shop.directory / "pylae.yaml"
            values = {
                "DEMO_ADDRESS": address,
                "DEMO_STATE": "state",
                "DEMO_ACCESS_LOG": str(shop.directory / ACCESS_LOG),
                "JWT_SECRET": secrets.token_urlsafe(48),
                **shop.addresses,
            }
            configuration.write_text(_filled_in(values), encoding="utf-8")
            _run(configuration, lambda addresses: _welcome(addresses, configuration, shop.addresses), interrupted)
    except ShopError as error:
        raise Failure(str(error)) from error


@contextlib.contextmanager
def _interruptions() -> Iterator[list[int]]:
    """Remembers Ctrl-C. In some places, such as callbacks of imports, Python only prints the exception and forgets
    it.
    """
    seen: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


def _run(configuration: Path, on_start: Callable[[Sequence[str]], None], interrupted: list[int]) -> None:
    """Runs the gateway, unless the start was interrupted. Prints when it listens."""
    from pylae.cli.foreground import RequestLines
    from pylae.gateway import Gateway

    class Greeting(Gateway):
        def start(self) -> list[str]:
            addresses = super().start()
            on_start(addresses)
            lines.start()
            return addresses

    gateway = Greeting.from_file(configuration)
    lines = RequestLines(gateway, _print, _as_gateway)
    # Only now: imports before this line can lose the exception.
    if interrupted:
        raise KeyboardInterrupt
    gateway.run()


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
    """Returns the shell commands that set the variables for `commands`."""
    return f"export TOKEN={tokens.user}", f"export ADMIN={tokens.admin}"


def commands(gateway: str, configuration: Path) -> Sequence[tuple[str, str]]:
    """Returns the six commands to try, each with an explanation. They need the variables of `exports`."""
    as_user, as_admin = (f'-H "Authorization: Bearer ${name}"' for name in ("TOKEN", "ADMIN"))
    as_json = "-H 'Content-Type: application/json'"
    order = '{"user_id": 1, "items": [{"sku": "kettle", "quantity": 2}]}'
    user = '{"name": "Edsger", "email": "edsger@example.com"}'
    return (
        (
            "Get a user. Repeat it: X-Served-By shows which instance answered, 1 or 2. Without the token: 401.",
            f"curl -i {gateway}/api/users/1 {as_user}",
        ),
        (
            "Register a user, which needs no token. Repeat it: the service answers that the address is taken.",
            f"curl -i {gateway}/api/users {as_json} -d '{user}'",
        ),
        (
            "Order two kettles. The order service calls payments and notifications; their log lines share an id.",
            f"curl -i {gateway}/api/orders {as_user} {as_json} -d '{order}'",
        ),
        (
            "List all users, which needs the role admin. With $TOKEN: 403, application/problem+json.",
            f"curl -i {gateway}/api/users {as_admin}",
        ),
        (
            "Use a method that the path does not support: 405, and Allow lists the supported ones.",
            f"curl -i -X DELETE {gateway}/api/users/1",
        ),
        (
            "Explain where a request goes and what each policy would decide for this token.",
            f"{_program()} explain {shlex.quote(str(configuration))} GET /api/users/1 {as_user}",
        ),
    )


def _welcome(addresses: Sequence[str], configuration: Path, services: Mapping[str, str]) -> None:
    gateway = f"http://{addresses[0]}"
    click.echo(f"\nThe gateway: {click.style(gateway, bold=True)}")
    for path in ("/api/users", "/api/orders", "/api/payments", "/api/notifications"):
        click.echo(f"  {gateway}{path}")
    click.echo("\nThe services behind it:")
    for variable, url in services.items():
        click.echo(f"  {variable.removesuffix('_URL').lower().replace('_', '-'):15}{url}")
    click.echo(f"\nIts configuration, applied live when you save it:\n  {configuration}")
    made = tokens(configuration)
    click.echo("\nIn another terminal, the tokens of Ada (user 1, a customer) and of an admin, good for an hour:\n")
    for line in exports(made):
        click.echo(click.style(line, fg="green"))
    click.echo("\nTry these there:")
    for number, (meaning, command) in enumerate(commands(gateway, configuration), 1):
        click.echo(f"\n  {number}. {meaning}\n     {click.style(command, fg='green')}")
    click.echo(f"\nThe access log, in JSON: {configuration.parent / ACCESS_LOG}")
    click.echo("Below is a line for each request, from the gateway and from each service. Ctrl-C stops everything.\n")


def _as_gateway(exchange: Mapping[str, Any]) -> str:
    """Returns the line for a request, from the view of the gateway."""
    from pylae.cli.foreground import at, described

    return f"{at(exchange)}  {described(exchange)}  {exchange['request_id']}"


def _tell(record: dict[str, object]) -> None:
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
    _print(f"{time.strftime('%H:%M:%S')}  {described(exchange)}  {record['request_id'] or ''}".rstrip())


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # whoever read the log has gone
        click.echo(line)


def _filled_in(values: Mapping[str, str]) -> str:
    """Returns the configuration of the shop with the addresses of this run, so that it can be read, edited and
    explained.
    """
    text = files("pylae.demo").joinpath("pylae.yaml").read_text(encoding="utf-8")
    return re.sub(r"\$\{(\w+)(?::-[^}]*)?\}", lambda found: values[found[1]], text)


def _free_port(wanted: int | None) -> int:
    """Returns the requested port, or else 8080 if it is free, or else a free port."""
    for port in (PORT, 0) if wanted is None else (wanted,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if wanted is not None:
                    raise Failure(f"port {port} of 127.0.0.1: {error.strerror}", "--port 0 picks a free one") from error
                continue
            return int(probe.getsockname()[1])
    raise Failure("no port of 127.0.0.1 is free")


def _program() -> str:
    """Returns how a shell of the same user can call this command."""
    called = Path(sys.argv[0]).absolute()
    if called.name != "pylae":
        return f"{shlex.quote(sys.executable)} -m pylae"
    return "pylae" if shutil.which("pylae") == str(called) else shlex.quote(str(called))
