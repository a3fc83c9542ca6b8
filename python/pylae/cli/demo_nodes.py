"""`pylae demo --nodes N`: the shop behind several gateways, which share their limits through a store."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pylae.cli import demo_dashboard
from pylae.cli.demo_lines import Tokens, of_gateway, program, tell, tell_commands, tell_services, tokens
from pylae.cli.report import Failure
from pylae.demo import nodes
from pylae.demo.nodes import Node, NodeError, Nodes
from pylae.demo.store import DemoStore, StoreError

if TYPE_CHECKING:
    from pylae.demo.shop import Shop

USER, PASSWORD = "STORE_USER", "STORE_PASSWORD"
_LIMIT = 10
"""Users that can be registered per minute, as the configuration of the shop says."""
_MANY = (
    f"Register {{sent}} users, at the nodes in turn. Together they admit {_LIMIT} per minute, not one more, and answer "
    "429 to the others."
)
_LIST = "List the nodes as the store knows them."
_REVOKE = "Revoke what Ada was issued, at the first node. The last one refuses it within a second: 401."
_KILL = "Kill a node. The others go on, and what it has admitted stays counted."
_FREEZE = "A minute later, freeze the store. Each node then admits its share of the limit, and no request fails."
_COLOURS = ("cyan", "magenta", "blue", "yellow", "green", "white")


@dataclass(frozen=True)
class UsedStore:
    """The store that the nodes share."""

    url: str
    user: str | None = None
    password: str | None = None
    process: DemoStore | None = None
    """The server, if the demo has started it."""


def run(shop: Shop, addresses: Sequence[str], store: str | None, interrupted: Sequence[int], dashboard: bool) -> None:
    """Runs nodes at these addresses until a signal; `interrupted` has those that have come before."""
    lines = Lines(shop.configuration, addresses)
    try:
        with _store(shop.directory, store, lines) as used:
            shop.configure(_values(shop.directory, addresses[0]), _cluster(shop.directory, used))
            made = tokens(shop.configuration)
            click.echo(f"Starting {', '.join(nodes.names(len(addresses)))} …", err=True)
            with Nodes(shop.configuration, addresses, lines) as started, contextlib.suppress(KeyboardInterrupt):
                _welcome(started.running, used, shop.configuration, made, shop.addresses)
                folders = [shop.directory / node.name for node in started.running]
                with demo_dashboard.beside(folders, wanted=dashboard):
                    _wait_for_a_signal(interrupted)
    except StoreError as error:
        raise Failure(str(error), error.hint) from error
    except NodeError as error:
        raise Failure(str(error)) from error


class Lines:
    """Prints what nodes say, with their names in front, and what to do when one has ended."""

    def __init__(self, configuration: Path, addresses: Sequence[str]) -> None:
        self._configuration = configuration
        self._addresses = dict(zip(nodes.names(len(addresses)), addresses, strict=True))
        self._names = {
            name: click.style(name, fg=_COLOURS[number % len(_COLOURS)]) for number, name in enumerate(self._addresses)
        }

    def log(self, node: str, line: str) -> None:
        """Prints a line of its log."""
        tell(f"{self._names[node]}  {line}")

    def exchange(self, node: str, exchange: Mapping[str, Any]) -> None:
        """Prints a line for a request."""
        tell(f"{self._names[node]}  {of_gateway(exchange)}")

    def ended(self, node: str, code: int) -> None:
        """Says that it has ended, and how to start it again."""
        _tell_end(f"{node} {_how(code)}. The other nodes go on. In another terminal, this starts it again:")
        settings = nodes.variables(node, self._addresses[node]).items()
        tell(f"  {' '.join(f'{name}={value}' for name, value in settings)} {program()} run {self._configuration}")

    def store_ended(self, store: DemoStore, code: int) -> None:
        """Says that the store has ended, and how to start it again."""
        _tell_end(f"The store {_how(code)}. Each node goes on with its share. This starts the store again:")
        tell(f"  {store.command}")


def _tell_end(line: str) -> None:
    with contextlib.suppress(OSError):
        click.secho(line, fg="red")


def _how(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"has ended with code {code}"


@contextlib.contextmanager
def _store(directory: Path, url: str | None, lines: Lines) -> Iterator[UsedStore]:
    """Yields the store that was asked for, or else starts one."""
    if url is not None:
        yield UsedStore(url, os.environ.get(USER), os.environ.get(PASSWORD))
        return
    with DemoStore(directory, lambda code: lines.store_ended(server, code)) as server:
        yield UsedStore(server.url, password=server.password, process=server)


def _wait_for_a_signal(interrupted: Sequence[int]) -> None:
    """Raises KeyboardInterrupt on SIGINT or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if interrupted:
        raise KeyboardInterrupt
    while True:
        signal.pause()


def _welcome(
    running: Sequence[Node], store: UsedStore, configuration: Path, made: Tokens, services: Mapping[str, str]
) -> None:
    click.echo("\nThe nodes, each of them a gateway and a process:")
    for node in running:
        address = click.style(f"http://{node.address}", bold=True)
        click.echo(f"  {node.name}  {address}  process {node.process.pid}")
    where = f"  process {store.process.pid}" if store.process else ""
    click.echo(f"\nThe store that they share: {store.url}{where}")
    tell_services(services)
    click.echo(f"\nThe configuration of all nodes, applied live when you save it:\n  {configuration}")
    tell_commands(made, _commands(running, store, configuration.parent))
    click.echo("\nBelow is a line for each request, from the nodes and from each service. Ctrl-C stops everything.\n")


def _commands(running: Sequence[Node], store: UsedStore, directory: Path) -> Sequence[tuple[str, str]]:
    """Returns the commands to try, each with an explanation."""
    rounds = -(-3 * _LIMIT // 2 // len(running))
    many, state = _registrations(running, rounds), shlex.quote(str(directory / running[0].name))
    tried = [(_MANY.format(sent=rounds * len(running)), many), (_LIST, f"{program()} nodes --state {state}")]
    if len(running) > 1:
        asked = f'sleep 1; curl -i http://{running[-1].address}/api/users/1 -H "Authorization: Bearer $TOKEN"'
        tried.append((_REVOKE, f"{program()} revoke --user 1 --state {state}; {asked}"))
        tried.append((_KILL, f"kill -9 {running[-1].process.pid}"))
    if store.process:
        pid = store.process.pid
        tried.append((_FREEZE, f"kill -STOP {pid}; {many}; kill -CONT {pid}"))
    return tried


def _registrations(running: Sequence[Node], rounds: int) -> str:
    """Returns a command that registers users at each node in turn and prints the status of each answer."""
    user = """'{"name": "Ada", "email": "'$(date +%N)'@example.com"}'"""
    curl = "curl -s -o /dev/null -w '%{http_code} ' $node/api/users -H 'Content-Type: application/json' -d " + user
    turns, urls = " ".join(map(str, range(1, rounds + 1))), " ".join(f"http://{node.address}" for node in running)
    return f"for turn in {turns}; do for node in {urls}; do {curl}; done; done; echo"


def _values(directory: Path, address: str) -> Mapping[str, str]:
    """Returns what the configuration is filled in with: what differs between nodes stays a reference, and stands for
    the first node where nobody sets it, such as in `pylae explain`.
    """
    first = {**nodes.variables(nodes.names(1)[0], address), "DEMO_ACCESS_LOG": str(directory / "access.log")}
    return {name: f"${{{name}:-{value}}}" for name, value in first.items()}


def _cluster(directory: Path, store: UsedStore) -> str:
    # The name of the directory is unique, so that demos do not meet in a store of yours.
    return nodes.settings(directory.name, store.url, store.user, store.password)
