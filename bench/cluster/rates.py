"""How exact limits of a cluster are over minutes, with keys below and above them. `python -m bench.cluster.rates`."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cluster.nodes import Client, Cluster, metric, serve_origin, started
from bench.processes import BenchError
from pylae.demo.store import DemoStore

RATE = 5
"""Requests per second that a key may send; as many at once."""
OFFERED, QUIET = 8.0, 0.7
"""What keys above and below the limit send in a second."""
SHARES = {"even": (1, 1, 1), "skewed": (85, 10, 5)}
_CONNECTIONS = 16
_PERMILLE = 0.001


@dataclass
class Key:
    """A client of one limit."""

    mode: str
    split: str
    name: str
    rate: float
    first: float | None = None
    last: float = 0.0
    admitted: int = 0
    refused: int = 0
    other: int = 0

    @property
    def ideal(self) -> float:
        """What one bucket would have admitted."""
        return RATE + RATE * (self.last - (self.first or 0.0))

    def take(self, status: int) -> None:
        """Counts an answer."""
        self.last = time.monotonic()
        self.admitted += status == 200
        self.refused += status == 429
        self.other += status not in (200, 429)


@dataclass(frozen=True)
class Outcome:
    """What the keys above the limit of one group have got, and those below."""

    name: str
    above: list[Key]
    below: list[Key]

    @property
    def error(self) -> float:
        """How far the rate was off, as a part of the limit."""
        return sum(key.admitted for key in self.above) / sum(key.ideal for key in self.above) - 1

    @property
    def worst(self) -> float:
        """By how many requests the worst key was off."""
        return max((key.admitted - key.ideal for key in self.above), key=abs)

    def row(self) -> str:
        """A row of the table."""
        quiet = sum(key.admitted for key in self.below)
        admitted, ideal = sum(key.admitted for key in self.above), sum(key.ideal for key in self.above)
        refused = sum(key.refused for key in self.below)
        return (
            f"| {self.name} | {len(self.above)} | {admitted:,} | {ideal:,.0f} | {self.error * 100:+.3f} % | "
            f"{self.worst:+.1f} | {len(self.below)} | {quiet:,} | {refused} |"
        )


def keys(above: int, below: int) -> list[Key]:
    """The clients of all groups."""
    groups = [(mode, split) for mode in ("fast", "exact") for split in SHARES]
    loud = [Key(mode, split, f"above{number}", OFFERED) for mode, split in groups for number in range(above)]
    quiet = [Key(mode, split, f"below{number}", QUIET) for mode, split in groups for number in range(below)]
    return loud + quiet


async def send(key: Key, queues: list[asyncio.Queue[Key]], end: float, rng: random.Random) -> None:
    """Asks for one key at the nodes, at its rate: evenly, so that one below the limit stays below."""
    due = time.monotonic() + rng.random() / key.rate
    while due < end:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        (queue,) = rng.choices(queues, SHARES[key.split])
        queue.put_nowait(key)
        due += 1 / key.rate


async def work(queue: asyncio.Queue[Key], client: Client) -> None:
    """Sends what is due at a node over one connection."""
    while True:
        key = await queue.get()
        key.first = key.first or time.monotonic()
        key.take((await client.ask(f"/{key.mode}/{key.split}", f"X-Key: {key.name}")).status)
        queue.task_done()


async def measure(seconds: float, above: int, below: int) -> tuple[list[Outcome], list[str]]:
    """Returns what came of each group, and what else is to be said."""
    server, origin = await serve_origin()
    limit = {"limit": RATE, "per": "1s", "key": "header:x-key"}
    routes: list[dict[str, Any]] = [
        {
            "name": f"{mode}-{split}",
            "path": f"/{mode}/{split}",
            "auth_required": False,
            "rate_limit": {**limit, "mode": mode},
        }
        for mode in ("fast", "exact")
        for split in SHARES
    ]
    everybody, rng = keys(above, below), random.Random(1)  # noqa: S311 - it only spreads the load
    with tempfile.TemporaryDirectory() as folder, DemoStore(Path(folder), _lost) as store:
        cluster = Cluster(Path(folder), store, origin, routes)
        with started(cluster):
            queues: list[asyncio.Queue[Key]] = [asyncio.Queue() for _ in cluster.nodes]
            workers = [
                asyncio.create_task(work(queue, Client(node.port)))
                for queue, node in zip(queues, cluster.nodes, strict=True)
                for _ in range(_CONNECTIONS)
            ]
            await asyncio.sleep(2)
            end = time.monotonic() + seconds
            await asyncio.gather(*(send(key, queues, end, rng) for key in everybody))
            for queue in queues:
                await asyncio.wait_for(queue.join(), 10)
            said = await tell(cluster)
            for task in workers:
                task.cancel()
    server.close()
    if other := sum(key.other for key in everybody):
        said.append(f"{other} answers were neither 200 nor 429")
    return [group(everybody, mode, split) for mode in ("fast", "exact") for split in SHARES], said


def group(everybody: list[Key], mode: str, split: str) -> Outcome:
    """What the keys of one group have got."""
    own = [key for key in everybody if (key.mode, key.split) == (mode, split)]
    above = [key for key in own if key.rate > RATE]
    return Outcome(f"`{mode}`, {split}", above, [key for key in own if key.rate < RATE])


async def tell(cluster: Cluster) -> list[str]:
    """What the nodes count."""
    names = ("pylae_store_waits_total", "pylae_store_calls_total", "pylae_store_errors_total")
    sums = [sum([await metric(node, name) for node in cluster.nodes]) for name in names]
    return [", ".join(f"{name} {count:.0f}" for name, count in zip(names, sums, strict=True))]


def _lost(code: int) -> None:
    raise BenchError(f"the store has ended with {code}")


def main() -> int:
    """Prints the table. Returns 1 if a limit was not what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--above", type=int, default=15, help="keys above the limit, of each of four groups")
    parser.add_argument("--below", type=int, default=85, help="keys below it")
    options = parser.parse_args()
    outcomes, said = asyncio.run(measure(options.seconds, options.above, options.below))
    print("| limit | keys above | admitted | one bucket | error | worst key | keys below | admitted | refused |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    print("\n".join(outcome.row() for outcome in outcomes))
    print("\n".join(said))
    # One request at either end is not a rate.
    fair = max(_PERMILLE, 1 / (RATE * options.seconds))
    wrong = [one for one in outcomes if abs(one.error) > fair or any(key.refused for key in one.below)]
    return 1 if wrong or len(said) > 1 else 0


if __name__ == "__main__":
    sys.exit(main())
