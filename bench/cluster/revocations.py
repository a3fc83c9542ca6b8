"""How soon all nodes of a cluster do what one was told, under load. `python -m bench.cluster.revocations`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from bench.cluster.nodes import ADMIN_TOKEN, Client, Cluster, metric, serve_origin, started
from bench.processes import BenchError
from pylae.demo.store import DemoStore
from pylae.testing import SECRET, make_token

MOST_REVOCATION, MOST_PURGE = 1.0, 0.1
"""What the guide promises, in seconds."""
_CONNECTIONS = 4
_PAUSE = 0.2
_MISSED = 10
"""Revocations and purges that the node misses which is cut off."""

Obeys = Callable[[Client], Awaitable[bool]]


class Relay:
    """A way to the store that can be cut."""

    def __init__(self, port: int) -> None:
        self._port, self._open, self._is_cut = port, set[asyncio.StreamWriter](), False

    async def start(self) -> int:
        """Returns the port."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """Ends all connections and passes no others on."""
        self._is_cut = True
        for writer in self._open:
            writer.close()

    def mend(self) -> None:
        """Passes connections on again."""
        self._is_cut = False

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._open |= {writer, back}
        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        self._open -= {writer, back}


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # Either side may have gone.
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
    writer.close()


async def keep_busy(ports: Sequence[int], rate: float) -> None:
    """Sends so many requests in a second to each port, until it is cancelled."""

    async def one(client: Client) -> None:
        due = time.monotonic()
        while True:
            due = max(due + _CONNECTIONS / rate, time.monotonic() - 1)
            await asyncio.sleep(due - time.monotonic())
            try:
                await client.ask("/kept/busy")
            except (OSError, asyncio.IncompleteReadError):
                # The node is started again.
                client.close()

    await asyncio.gather(*(one(Client(port)) for port in ports for _ in range(_CONNECTIONS)))


def _be_busy(ports: Sequence[int], rate: float) -> None:
    asyncio.run(keep_busy(ports, rate))


@contextlib.contextmanager
def load(ports: Sequence[int], rate: float) -> Iterator[None]:
    """The load, from a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=_be_busy, args=(ports, rate), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


class Bench:
    """Clients of all nodes and of their admin APIs."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.clients = [Client(node.port) for node in cluster.nodes]
        self.admins = [Client(node.admin, f"Authorization: Bearer {ADMIN_TOKEN}") for node in cluster.nodes]

    async def tell(self, node: int, target: str, body: object) -> None:
        """Tells a node something."""
        answer = await self.admins[node].ask(target, method="POST", body=body)
        if answer.status >= 300:
            raise BenchError(f"{target}: {answer.status} {answer.body!r}")

    async def until_all(self, obeys: Obeys, node: int, target: str, body: object) -> float:
        """Tells a node something, and returns the seconds until the last one obeys."""
        began = time.monotonic()
        await asyncio.gather(self.tell(node, target, body), *(_until(obeys, client) for client in self.clients))
        return time.monotonic() - began

    def purge(self, page: str, before: Sequence[bytes]) -> tuple[Obeys, str, object]:
        """What purges a page that nodes have stored."""

        async def obeys(client: Client) -> bool:
            return (await client.ask(page)).body not in before

        return obeys, "/cache/purge", {"url": page}

    async def requests(self) -> float:
        """How many the nodes have answered."""
        return sum([await metric(node, "pylae_requests_total") for node in self.cluster.nodes])

    async def fill(self, page: str) -> list[bytes]:
        """Has all nodes store a page; returns what they have stored."""
        return [(await client.ask(page)).body for client in self.clients]


async def _until(obeys: Obeys, client: Client) -> None:
    while not await obeys(client):
        pass


def credential(number: int) -> str:
    """The field with a token of its own."""
    exp = int(time.time()) + 3600
    return f"Authorization: Bearer {make_token({'sub': 'ada', 'jti': f'token-{number}', 'exp': exp}, secret=SECRET)}"


def refused(number: int) -> tuple[Obeys, str, object]:
    """What revokes a token."""
    field = credential(number)

    async def obeys(client: Client) -> bool:
        return (await client.ask("/closed", field)).status == 401

    return obeys, "/revocations", {"jti": f"token-{number}"}


async def measure(count: int, rate: float) -> list[str]:
    """Returns what is to be said; what took too long or was lost begins with an asterisk."""
    server, origin = await serve_origin()
    routes = [
        {"name": "kept", "prefix": "/kept", "auth_required": False, "cache": True},
        {"name": "closed", "path": "/closed"},
    ]
    auth = {"jwt": {"secret": SECRET}, "failure_limit": None}
    with tempfile.TemporaryDirectory() as folder, DemoStore(Path(folder), _lost) as store:
        cluster = Cluster(Path(folder), store, origin, routes, auth=auth)
        relay = Relay(store.port)
        cluster.nodes[2].config["cluster"]["store"] = f"valkey://127.0.0.1:{await relay.start()}"
        running = started(cluster)
        # This thread serves the relay meanwhile.
        await asyncio.to_thread(running.__enter__)
        try:
            with load([node.port for node in cluster.nodes], rate):
                await asyncio.sleep(2)
                return await _measure(Bench(cluster), relay, count)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)
            server.close()


async def _measure(bench: Bench, relay: Relay, count: int) -> list[str]:
    began, before = time.monotonic(), await bench.requests()
    revocations, purges = [], []
    for number in range(count):
        await asyncio.sleep(_PAUSE)
        revocations.append(await bench.until_all(*_with_node(refused(number), number)))
        page = f"/kept/page-{number}"
        purges.append(await bench.until_all(*_with_node(bench.purge(page, await bench.fill(page)), number)))
    busy = (await bench.requests() - before) / (time.monotonic() - began) / len(bench.clients)
    rows = [f"{busy:.0f} requests per second at each node, those included that look whether it obeys"]
    rows += [_row("revoked", revocations, MOST_REVOCATION), _row("purged", purges, MOST_PURGE)]
    missed = [refused(count + number) for number in range(_MISSED)]
    for number in range(_MISSED):
        page = f"/kept/missed-{number}"
        missed.append(bench.purge(page, await bench.fill(page)))
    relay.cut()
    await asyncio.sleep(1)
    for _, target, body in missed:
        await bench.tell(0, target, body)
    await asyncio.sleep(1)
    relay.mend()
    began = time.monotonic()
    for obeys, _, _ in missed:
        await _until(obeys, bench.clients[2])
    rows.append(_row(f"{_MISSED} of each while a node was cut off, since its return", [time.monotonic() - began], 1.0))
    everything = [refused(number)[0] for number in range(count + _MISSED)]
    bench.cluster.ask_store("FLUSHALL")
    rows.append(await _not_in_force("FLUSHALL", bench, everything))
    for node in bench.cluster.nodes[:2]:
        await asyncio.to_thread(node.stop)
        await asyncio.to_thread(node.start)
        bench.clients[node.number].close()
    rows.append(await _not_in_force("FLUSHALL and a restart of two nodes, one after the other", bench, everything))
    return rows


def _with_node(what: tuple[Obeys, str, object], number: int) -> tuple[Obeys, int, str, object]:
    obeys, target, body = what
    return obeys, number % 3, target, body


async def _not_in_force(name: str, bench: Bench, everything: Sequence[Obeys]) -> str:
    missing = sum([not await obeys(client) for obeys in everything for client in bench.clients])
    mark = "* " if missing else ""
    return f"{mark}after {name}: {missing} of {3 * len(everything)} revocations are not in force"


def _row(name: str, times: Sequence[float], most: float) -> str:
    median, worst = statistics.median(times), max(times)
    mark = "* " if worst > most else ""
    return f"{mark}{name}: {len(times)} times, median {median * 1000:.1f} ms, longest {worst * 1000:.1f} ms"


def _lost(code: int) -> None:
    raise BenchError(f"the store has ended with {code}")


def main() -> int:
    """Prints how long it took. Returns 1 if that was longer than promised, or if something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50, help="revocations, and purges")
    parser.add_argument("--rate", type=float, default=500, help="requests per second at each node")
    options = parser.parse_args()
    rows = asyncio.run(measure(options.count, options.rate))
    print("\n".join(rows))
    return any(row.startswith("*") for row in rows)


if __name__ == "__main__":
    sys.exit(main())
