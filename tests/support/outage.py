"""Gateways under load while something happens to their store."""

from __future__ import annotations

import gc
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from support.instance import RawInstance
from support.peer import wait_until
from support.running import Running

Start = Callable[..., Running]
KEYS = 30


class Seen(NamedTuple):
    """An answer."""

    node: int
    key: int
    began: float
    ended: float
    status: int


@dataclass
class Load:
    """Requests to gateways without a pause, by keys in turn, and the answers."""

    seen: list[Seen] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def goes_on(self) -> None:
        """Waits until each key had further answers."""
        before = len(self.seen)
        wait_until(lambda: len(self.seen) > before + 20 * KEYS)


def start_nodes(
    gateway: Start, instance: RawInstance, urls: Sequence[str], limit: object, **cluster: object
) -> list[Running]:
    """The nodes of a cluster with a name that no other one has, each with the URL by which it gets to the store."""
    name = str(uuid.uuid4())
    started = []
    for url in urls:
        config = {
            "cluster": {"name": name, "store": url, **cluster},
            "routes": [{"name": "all", "prefix": "/", "service": "all", "rate_limit": limit}],
        }
        started.append(gateway(config, all=instance))
    wait_until(lambda: all(node.gateway.stats()["store"]["nodes"] == len(urls) for node in started))
    return started


def is_available(node: Running) -> bool:
    """True if a node is connected to all servers of the store."""
    return bool(node.gateway.stats()["store"]["available"])


@contextmanager
def load(started: Sequence[Running]) -> Iterator[Load]:
    """Asks each gateway without a pause, a client each."""
    load, stop = Load(), threading.Event()

    def ask(number: int, node: Running) -> None:
        try:
            with node.connect() as peer:
                for key in itertools.cycle(range(KEYS)):
                    if stop.is_set():
                        return
                    began = time.perf_counter()
                    peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Key: %d\r\n\r\n" % key)
                    status = peer.read_answer().status
                    load.seen.append(Seen(number, key, began, time.perf_counter(), status))
        except BaseException as error:
            load.failures.append(error)
            raise

    threads = [threading.Thread(target=ask, args=pair) for pair in enumerate(started)]
    # A collection of so many objects takes half a second, in which all clients wait.
    gc.disable()
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        gc.enable()
        stop.set()
        for thread in threads:
            thread.join()
