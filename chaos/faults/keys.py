"""Keys that a client invents."""

from __future__ import annotations

import socket
import threading
import time

from chaos.client import Client
from chaos.stage import Fault, Stage, watch_memory

_KEYS = 5_000_000
_REMEMBERED = 100_000
_SENDERS, _AHEAD = 4, 200
_LIMIT = 10
_GROWTH = 48.0
"""Megabytes by which the gateway may grow, with 100,000 keys of some 48 bytes."""
_ASKS = 0.05
"""Seconds between two requests of the legitimate client: so long that its key is not the oldest of 100,000."""
_LONGEST, _PEERS = 150.0, 30.0
"""Seconds after which what was sent by then has to do: speed is not what is judged."""


def _send(port: int, first: int, count: int, counted: list[int], end: float) -> None:
    """Requests with a key of their own each, many ahead of their answers."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        for at in range(first, first + count, _AHEAD):
            wanted = min(_AHEAD, first + count - at)
            heads = (
                b"GET /limited HTTP/1.1\r\nHost: a\r\nX-Key: %d\r\n\r\n" % number for number in range(at, at + wanted)
            )
            connection.sendall(b"".join(heads))
            came, rest = 0, b""
            while came < wanted:
                if not (data := connection.recv(2**18)):
                    raise ConnectionError("the gateway has closed a connection")
                found = rest + data
                came += found.count(b"HTTP/1.1 ")
                # The beginning of the next one, perhaps; too short to be one that was counted.
                rest = found[-8:]
            counted[0] += came
            if time.monotonic() > end:
                return


async def _run(stage: Stage) -> None:
    room = 50_000_000 if stage.planted == "unbounded" else _REMEMBERED
    front = await stage.front([], ports=[1], key=("X-Key", _LIMIT, room))
    longest = _LONGEST if stage.own else _PEERS
    before, began = front.memory(), time.monotonic()
    counts = [[0] for _ in range(_SENDERS)]
    share = _KEYS // _SENDERS
    failures: list[str] = []

    def run(number: int) -> None:
        try:
            _send(front.port, number * share, share, counts[number], began + longest)
        except OSError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(_SENDERS)]
    for thread in threads:
        thread.start()
    admitted = refused = most = 0
    async with Client(front.port) as client:
        while any(thread.is_alive() for thread in threads):
            most = max(most, await watch_memory(front, _ASKS))
            changing = (admitted + refused) // 5 if stage.planted == "forgetful" else ""
            status = (await client.ask("/limited", f"X-Key: legitimate{changing}", patience=20)).status
            admitted, refused = admitted + (status == 200), refused + (status == 429)
    took = time.monotonic() - began
    invented = sum(count for (count,) in counts)
    grown = (max(most, front.memory()) - before) / 2**20
    stage.check(f"{_KEYS:,} keys", invented >= _KEYS and not failures, f"{invented:,} in {took:.0f} s {failures[:1]}")
    stage.check(f"memory grows by at most {_GROWTH:.0f} MB", grown <= _GROWTH, f"{grown:.0f} MB")
    stage.check(
        f"a legitimate key is admitted {_LIMIT} times",
        admitted == _LIMIT and refused > 0,
        f"{admitted} times, refused {refused} times",
    )


FAULTS = (
    Fault(
        "keys",
        f"{_KEYS:,} values of the field that a limit counts by, with room for {_REMEMBERED:,}, and a legitimate one",
        _run,
        {"unbounded": "50,000,000 keys are remembered", "forgetful": "the legitimate client changes its key"},
        ("nginx", "haproxy"),
    ),
)
