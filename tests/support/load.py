"""Many requests, and what came of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from support.peer import Message, Peer

Seen = Counter[int | str]
"""Answers by status; answers that did not come whole by the name of the exception."""


def get(target: str = "/", *fields: str) -> bytes:
    """The bytes of a GET."""
    lines = "".join(f"{field}\r\n" for field in ("Host: gateway.test", *fields))
    return f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def answers(address: str, requests: Iterable[bytes]) -> list[Message]:
    """The answers to requests that follow each other, on one connection as long as the gateway keeps it."""
    taken: list[Message] = []
    peer = Peer.connect(address)
    try:
        for request in requests:
            peer.send(request)
            taken.append(peer.read_answer())
            if taken[-1].one("connection") == "close":
                peer.close()
                peer = Peer.connect(address)
    finally:
        peer.close()
    return taken


def load(address: str, count: int, *, clients: int = 8, at: dict[int, Callable[[], None]] | None = None) -> Seen:
    """`count` GETs by several clients at once, each on a connection that it keeps; calls functions `at` a count."""
    seen: Seen = Counter()
    lock = threading.Lock()

    def client(_: int) -> None:
        peer = Peer.connect(address)
        while True:
            with lock:
                number = seen["asked"]
                if number == count:
                    break
                seen["asked"] += 1
            if at and number in at:
                at[number]()
            try:
                peer.send(get())
                outcome: int | str = peer.read_answer().status
            except (OSError, AssertionError) as error:
                outcome = type(error).__name__
                peer.close()
                peer = Peer.connect(address)
            with lock:
                seen[outcome] += 1
        peer.close()

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    del seen["asked"]
    return seen
