"""Ways in which several workers can accept from one address, without a gateway. `python -m bench.listening --help`."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from statistics import quantiles

_WAYS = ("shared", "exclusive", "nested", "reuseport")
_BUSY = 0.02
"""Seconds that a busy worker does not look at its sockets."""
_BACKLOG = 1024
_PATIENCE = 5.0


@dataclass
class _Count:
    """What one worker has seen of its listening socket."""

    accepted: int = 0
    wakeups: int = 0
    """How often it was woken, also where the kernel has put it to sleep again as another one had been faster."""


@dataclass
class _Figures:
    """What one way has shown."""

    calm: list[_Count] = field(default_factory=list)
    """Connections one after the other, each to idle workers."""
    burst: list[_Count] = field(default_factory=list)
    """All at once, and kept."""
    waits: list[float] = field(default_factory=list)
    """Seconds until a connection was accepted while one worker was busy."""
    reset: int = 0
    """Connections lost while other workers took over."""


def _listen(port: int, way: str) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if way == "reuseport":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(_BACKLOG)
    listening.setblocking(False)
    return listening


def _work(listening: socket.socket, way: str, is_busy: bool, over: Connection) -> None:
    """Accepts and greets until it is told to end; then says what it has seen, and goes with its connections."""
    poll, count, kept = _watch(listening, way), _Count(), list[socket.socket]()
    poll.register(over.fileno(), select.EPOLLIN)
    over.send(None)
    slept = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    while not over.poll():
        events = poll.poll()
        if not any(handle != over.fileno() for handle, _ in events):
            continue
        if is_busy:
            time.sleep(_BUSY)
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = listening.accept()
                count.accepted += 1
                connection.send(b"!")
                kept.append(connection)
    count.wakeups = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - slept
    over.recv()
    over.send(count)


def _watch(listening: socket.socket, way: str) -> select.epoll:
    """Tells an epoll of the socket as that way does."""
    poll = select.epoll()
    if way == "nested":
        # A runtime that knows nothing of exclusive waits can watch an epoll that has one.
        inner = select.epoll()
        inner.register(listening, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        poll.register(os.dup(inner.fileno()), select.EPOLLIN)
    elif way == "exclusive":
        poll.register(listening, select.EPOLLIN | select.EPOLLEXCLUSIVE)
    else:
        # As the runtime of Pylae does.
        poll.register(listening, select.EPOLLIN | select.EPOLLET)
    return poll


class _Workers:
    """Processes that accept from one port."""

    def __init__(self, count: int, way: str, shared: socket.socket | None, port: int, busy: int = 0) -> None:
        """Starts them. The first `busy` ones are. Without a shared socket each has one of its own at the port."""
        fork = multiprocessing.get_context("fork")
        self._processes, self._pipes = [], []
        for number in range(count):
            own = shared or _listen(port, way)
            ours, theirs = fork.Pipe()
            process = fork.Process(target=_work, args=(own, way, number < busy, theirs), daemon=True)
            process.start()
            if own is not shared:
                own.close()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)
        for pipe in self._pipes:
            pipe.recv()

    def end(self) -> list[_Count]:
        """Ends them; returns what they have seen."""
        for pipe in self._pipes:
            pipe.send(None)
        counts = [pipe.recv() for pipe in self._pipes]
        for process in self._processes:
            process.join()
        return counts


@contextlib.contextmanager
def _port(way: str) -> Iterator[tuple[socket.socket | None, int]]:
    """A port, and the socket that all workers share; one that only keeps the port if each has its own."""
    with socket.socket() if way == "reuseport" else _listen(0, way) as listening:
        if way == "reuseport":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listening.bind(("127.0.0.1", 0))
        yield None if way == "reuseport" else listening, listening.getsockname()[1]


def _greeted(port: int) -> socket.socket:
    """A connection that a worker has accepted."""
    connection = socket.create_connection(("127.0.0.1", port), _PATIENCE)
    if connection.recv(1) != b"!":
        connection.close()
        raise ConnectionResetError("closed without a greeting")
    return connection


def _measure(way: str, count: int, connections: int) -> _Figures:
    figures = _Figures()
    with _port(way) as (shared, port):
        workers = _Workers(count, way, shared, port)
        for _ in range(connections):
            _greeted(port).close()
        figures.calm = workers.end()
        workers = _Workers(count, way, shared, port)
        # Those that connect without waiting are in the queues before any worker has run.
        kept = [socket.create_connection(("127.0.0.1", port), _PATIENCE) for _ in range(connections)]
        for connection in kept:
            connection.recv(1)
            connection.close()
        figures.burst = workers.end()
        workers = _Workers(count, way, shared, port, busy=1)
        for _ in range(connections):
            began = time.monotonic()
            _greeted(port).close()
            figures.waits.append(time.monotonic() - began)
        workers.end()
        figures.reset = _take_over(way, count, shared, port)
    return figures


def _take_over(way: str, count: int, shared: socket.socket | None, port: int) -> int:
    """How many connections are lost while workers are replaced ten times, the new ones first."""
    over, lost = threading.Event(), 0

    def connect() -> None:
        nonlocal lost
        while not over.is_set():
            try:
                _greeted(port).close()
            except OSError:
                lost += 1

    workers = _Workers(count, way, shared, port)
    clients = [threading.Thread(target=connect) for _ in range(8)]
    for client in clients:
        client.start()
    for _ in range(10):
        fresh = _Workers(count, way, shared, port)
        workers.end()
        workers = fresh
    over.set()
    for client in clients:
        client.join()
    workers.end()
    return lost


def _row(way: str, count: int, figures: _Figures) -> str:
    calm, burst = figures.calm, figures.burst
    wakeups = sum(one.wakeups for one in calm) / sum(one.accepted for one in calm)
    shares = [[one.accepted / sum(all_.accepted for all_ in counts) for one in counts] for counts in (calm, burst)]
    most, fewest = max(shares[1]) * count, min(shares[1]) * count
    late = quantiles(figures.waits, n=100)[89]
    cells = [f"{wakeups:.1f}", f"{max(shares[0]):.0%}", f"{fewest:.2f}–{most:.2f}"]
    return f"| {way} | {count} | {' | '.join(cells)} | {late * 1000:.1f} | {figures.reset} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.listening", description=__doc__)
    parser.add_argument("--ways", default=",".join(_WAYS), help="default all: %(default)s")
    parser.add_argument("--workers", default="2,4,8", help="numbers of workers; default %(default)s")
    parser.add_argument("--connections", type=int, default=400, help="in each measurement; default %(default)s")
    options = parser.parse_args(argv)
    ways = options.ways.split(",")
    if unknown := set(ways) - set(_WAYS):
        print(f"bench: --ways: {', '.join(unknown)} is none of {', '.join(_WAYS)}", file=sys.stderr)
        return 1
    print("| way | workers | wakeups a connection | share of the busiest | burst: fewest–most |", end="")
    print(" p90 beside a busy one, ms | lost |\n|---|---:|---:|---:|---:|---:|---:|")
    for count in map(int, options.workers.split(",")):
        for way in ways:
            print(_row(way, count, _measure(way, count, options.connections)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
