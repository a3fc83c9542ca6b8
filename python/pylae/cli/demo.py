"""`pylae demo`: a sample shop behind a gateway or several, to play with."""

from __future__ import annotations

import contextlib
import shlex
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from pylae.cli import demo_dashboard, demo_login, stderr
from pylae.cli.demo_lines import of_gateway, program, tell, tell_commands, tell_record, tell_services, tokens
from pylae.cli.report import Failure

if TYPE_CHECKING:
    from pylae.demo.shop import Shop

PORT = 8080
ACCESS_LOG = "access.log"
"""File name of the access log, in the folder of the configuration."""


@click.command(short_help="Start a sample shop behind a gateway.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Port of the gateway; 0 picks a free one. Default: {PORT}, or a free one if it is taken. Several nodes have "
    "this port and the following ones.",
)
@click.option(
    "--nodes",
    type=click.IntRange(1, 9),
    help="Start this many gateways, the nodes of one cluster, and a store that they share.",
)
@click.option(
    "--store",
    metavar="URL",
    help="Use this store for the nodes, such as valkey://127.0.0.1:6379. Its user and password, if it has any, are in "
    "STORE_USER and STORE_PASSWORD. Default: start a server of Valkey or Redis that keeps nothing.",
)
@click.option("--dashboard/--no-dashboard", default=True, help="Start the dashboard too. Default: if it is installed.")
@click.option("--login", is_flag=True, help=f"Put a login before the shop. Needs `pip install '{demo_login.EXTRA}'`.")
def demo(port: int | None, nodes: int | None, store: str | None, dashboard: bool, login: bool) -> None:
    """Start four HTTP services and a gateway in front of them, and print commands to try.

    The services are users (two instances), orders, payments and notifications, each with an SQLite database in a
    temporary directory. Then print a line for each request, from the gateway and from each service. Ctrl-C stops
    everything and removes all files.

    With --nodes, several gateways share their limits. Each is a process that you may kill, and so is the store.

    With `pip install 'pylae[dashboard]'`, the dashboard starts too, and says where it is.

    With --login, open the shop in a browser: who you are is asked by an OpenID provider, which starts too. It has a
    customer and an admin, and no passwords.
    """
    from pylae.demo.shop import Shop, ShopError

    if login:
        demo_login.check(alone=nodes is None and store is None)
    stderr.to_standard_error()
    click.echo("Starting users (two instances), orders, payments and notifications …", err=True)
    try:
        with (
            _interruptions() as interrupted,
            Shop(tell_record, login=login) as shop,
            _held_ports(port, nodes or 1) as ports,
        ):
            if nodes is None and store is None:
                _run(shop, f"127.0.0.1:{ports[0]}", interrupted, dashboard, login)
            else:
                from pylae.cli import demo_nodes

                demo_nodes.run(shop, [f"127.0.0.1:{port}" for port in ports], store, interrupted, dashboard)
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


def _run(shop: Shop, address: str, interrupted: list[int], dashboard: bool, login: bool) -> None:
    """Runs the gateway, unless the start was interrupted. Prints when it listens."""
    from pylae.cli.foreground import RequestLines
    from pylae.gateway import Gateway

    log = shop.directory / ACCESS_LOG
    values = {"DEMO_ADDRESS": address, "DEMO_STATE": "state", "DEMO_ACCESS_LOG": str(log)}
    shop.configure(values, authenticator=demo_login.authenticator(shop.addresses) if login else "")

    class Greeting(Gateway):
        def start(self) -> list[str]:
            addresses = super().start()
            _welcome(addresses, shop.configuration, shop.addresses, login)
            lines.start()
            beside.enter_context(demo_dashboard.beside([shop.directory / "state"], wanted=dashboard))
            return addresses

    gateway = Greeting.from_file(shop.configuration)
    lines = RequestLines(gateway, tell, of_gateway)
    # Only now: imports before this line can lose the exception.
    if interrupted:
        raise KeyboardInterrupt
    with contextlib.ExitStack() as beside:
        gateway.run()


def _commands(gateway: str, configuration: Path) -> Sequence[tuple[str, str]]:
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
            f"{program()} explain {shlex.quote(str(configuration))} GET /api/users/1 {as_user}",
        ),
    )


def _welcome(addresses: Sequence[str], configuration: Path, services: Mapping[str, str], login: bool) -> None:
    gateway = f"http://{addresses[0]}"
    click.echo(f"\nThe gateway: {click.style(gateway, bold=True)}")
    for path in ("/api/users", "/api/orders", "/api/payments", "/api/notifications"):
        click.echo(f"  {gateway}{path}")
    tell_services(services)
    click.echo(f"\nIts configuration, applied live when you save it:\n  {configuration}")
    if login:
        demo_login.tell(gateway)
    tell_commands(tokens(configuration), _commands(gateway, configuration))
    click.echo(f"\nThe access log, in JSON: {configuration.parent / ACCESS_LOG}")
    click.echo("Below is a line for each request, from the gateway and from each service. Ctrl-C stops everything.\n")


@contextlib.contextmanager
def _held_ports(first: int | None, count: int) -> Iterator[Sequence[int]]:
    """Yields the requested port and the following ones, or else those from 8080 on if they are free, or else free
    ones. A gateway can listen at them, and the system gives them to nobody else meanwhile.
    """
    with contextlib.ExitStack() as held:
        yield _hold_ports(held, first, count)


def _hold_ports(held: contextlib.ExitStack, first: int | None, count: int) -> Sequence[int]:
    if first == 0:
        return [_hold_port(held, 0) for _ in range(count)]
    wanted = PORT if first is None else first
    try:
        return [_hold_port(held, port) for port in range(wanted, wanted + count)]
    except OSError as error:
        if first is None:
            return _hold_ports(held, 0, count)
        taken = f"{wanted}" if count == 1 else f"{wanted} to {wanted + count - 1}"
        raise Failure(f"port {taken} of 127.0.0.1: {error.strerror}", "--port 0 picks a free one") from error


def _hold_port(held: contextlib.ExitStack, wanted: int) -> int:
    """Returns the port if it is free, or one that is free for 0. Raises OSError."""
    holder = held.enter_context(socket.socket())
    # A socket that is bound and does not listen leaves the port to those who set this too, as the gateway does.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", wanted))
    return int(holder.getsockname()[1])
