"""A gateway that is watched: its admin API has an address that is known."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.measure import free_port
from bench.peers import Pylae, Setup
from bench.processes import BenchError
from bench.scenarios import ADMIN_TOKEN

PATIENCE = 10.0
"""Seconds that an answer of the admin API may take."""


class Watched(Pylae):
    """Pylae with an admin API, and with what else is put into each section of its file."""

    def __init__(self, name: str, program: Path, more: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(name, program)
        self.admin = free_port()
        self.more = more

    def command(self, setup: Setup) -> list[str | Path]:
        """The same, with more in its file."""
        words = super().command(setup)
        file = Path(words[-1])
        config = json.loads(file.read_text())
        for section, settings in self.more.items():
            config.setdefault(section, {}).update(settings)
        config |= {
            "admin": {"address": f"127.0.0.1:{self.admin}", "token": ADMIN_TOKEN},
            "state": str(setup.folder / f"state-{self.name}"),
        }
        file.write_text(json.dumps(config))
        return words

    def request(self, method: str, path: str, body: str = "") -> bytes:
        """A request to the admin API."""
        fields = f"Host: 127.0.0.1:{self.admin}\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n"
        fields += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        return f"{method} {path} HTTP/1.1\r\n{fields}\r\n{body}".encode()

    def ask(self, path: str) -> Any:
        """What a GET answers, read from JSON.

        Raises:
            BenchError: it is refused.
        """
        with socket.create_connection(("127.0.0.1", self.admin), PATIENCE) as connection:
            status, body = exchange(connection, self.request("GET", path))
        if status != 200:
            raise BenchError(f"{path} answered {status}")
        return json.loads(body)


def exchange(connection: socket.socket, request: bytes) -> tuple[int, bytes]:
    """Sends a request and reads the answer, whose length is told."""
    connection.sendall(request)
    with connection.makefile("rb") as stream:
        status, length = int(stream.readline().split()[1]), 0
        while (line := stream.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, stream.read(length)


@contextlib.contextmanager
def scraping(peer: Watched, rate: float) -> Iterator[list[float]]:
    """Scrapes as a Prometheus does, on one connection, in the background; gives the seconds that each took.

    Raises:
        BenchError: a scrape has failed.
    """
    over, durations, failures = threading.Event(), [], []

    def scrape() -> None:
        with socket.create_connection(("127.0.0.1", peer.admin), PATIENCE) as connection:
            due = time.monotonic()
            while not over.wait(max(0.0, due - time.monotonic())):
                began = time.monotonic()
                status, page = exchange(connection, peer.request("GET", "/metrics"))
                if status != 200 or b"pylae_requests_total" not in page:
                    failures.append(status)
                durations.append(time.monotonic() - began)
                due += 1 / rate

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield durations
    finally:
        over.set()
        thread.join()
    if failures:
        raise BenchError(f"{len(failures)} scrapes failed, the first with status {failures[0]}")
