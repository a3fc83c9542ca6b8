"""`pylae demo`: a whole shop with a gateway in front, to play with."""

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
"""The file of the access log, beside the configuration."""


@click.command(short_help="Start a sample shop behind a gateway.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Port of the gateway; 0 takes a free one. Default: {PORT}, or a free one if it is taken.",
)
def demo(port: int | None) -> None:
    """Start four real HTTP services and a gateway in front of them, and print commands to try.

    The services are users (two instances), orders, payments and notifications, each with its own SQLite database in a
    temporary directory. A line for each request follows: as the gateway answered it, and as each service did. Ctrl-C
    stops all of it and leaves nothing behind.
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
    """Remembers Ctrl-C: in some places, such as callbacks of imports, the exception alone is printed and forgotten."""
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
    """Runs the gateway, unless the start was interrupted, and says when it listens."""
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
    # Only now: what is imported until here can lose the exception.
    if interrupted:
        raise KeyboardInterrupt
    gateway.run()


@dataclass(frozen=True)
class Tokens:
    """Tokens of somebody who may buy and of somebody who may see everything."""

    user: str
    admin: str


def tokens(configuration: Path) -> Tokens:
    """Tokens that the gateway of the demo accepts for an hour."""
    from pylae.auth import User, issue_token
    from pylae.gateway import Gateway

    config = Gateway.from_file(configuration).config
    people = (User("1", "customer", "ada@example.com"), User("3", "admin", "root@example.com"))
    return Tokens(*(issue_token(person, config=config) for person in people))


def exports(tokens: Tokens) -> Sequence[str]:
    """What a shell has to know for `commands`."""
    return f"export TOKEN={tokens.user}", f"export ADMIN={tokens.admin}"


def commands(gateway: str, configuration: Path) -> Sequence[tuple[str, str]]:
    """The six commands to try, each with what it shows, once a shell knows `exports`."""
    as_user, as_admin = (f'-H "Authorization: Bearer ${name}"' for name in ("TOKEN", "ADMIN"))
    as_json = "-H 'Content-Type: application/json'"
    order = '{"user_id": 1, "items": [{"sku": "kettle", "quantity": 2}]}'
    user = '{"name": "Edsger", "email": "edsger@example.com"}'
    return (
        (
            "Get a user. Ask again: X-Served-By tells which instance answered, 1 to 2. Without the token: 401.",
            f"curl -i {gateway}/api/users/1 {as_user}",
        ),
        (
            "Register a user, which is open to everyone. Again, and the service says that the address is taken.",
            f"curl -i {gateway}/api/users {as_json} -d '{user}'",
        ),
        (
            "Order two kettles: the order service has it paid and the user told: three lines of the log share an id.",
            f"curl -i {gateway}/api/orders {as_user} {as_json} -d '{order}'",
        ),
        (
            "List all users, which takes the role admin. With $TOKEN: 403, application/problem+json.",
            f"curl -i {gateway}/api/users {as_admin}",
        ),
        (
            "A method that the path does not have: 405, and Allow says which it has.",
            f"curl -i -X DELETE {gateway}/api/users/1",
        ),
        (
            "Why does a request go where it goes, and what would this token get?",
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
    click.echo("A line for each request follows, of the gateway and of each service. Ctrl-C stops everything.\n")


def _as_gateway(exchange: Mapping[str, Any]) -> str:
    """A request as the gateway answered it."""
    from pylae.cli.foreground import at, described

    return f"{at(exchange)}  {described(exchange)}  {exchange['request_id']}"


def _tell(record: dict[str, object]) -> None:
    """Prints a request as a service answered it, in the words of the gateway."""
    from pylae.cli.foreground import described

    if "ended" in record:
        click.secho(f"{record['instance']} ended by itself with code {record['ended']}", fg="red", err=True)
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
    """The configuration of the shop with the addresses of this run, so that it can be read, edited and explained."""
    text = files("pylae.demo").joinpath("pylae.yaml").read_text(encoding="utf-8")
    return re.sub(r"\$\{(\w+)(?::-[^}]*)?\}", lambda found: values[found[1]], text)


def _free_port(wanted: int | None) -> int:
    """The port that was asked for, or 8080 if it is free, or a free one."""
    for port in (PORT, 0) if wanted is None else (wanted,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if wanted is not None:
                    raise Failure(f"port {port} of 127.0.0.1: {error.strerror}", "--port 0 takes a free one") from error
                continue
            return int(probe.getsockname()[1])
    raise Failure("no port of 127.0.0.1 is free")


def _program() -> str:
    """How this command is called in a shell of the same person."""
    called = Path(sys.argv[0]).absolute()
    if called.name != "pylae":
        return f"{shlex.quote(sys.executable)} -m pylae"
    return "pylae" if shutil.which("pylae") == str(called) else shlex.quote(str(called))
