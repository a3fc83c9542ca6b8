"""What being watched costs: scrapes of /metrics, and instances that beat. `python -m bench.admin --help`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.measure import LOAD_CORE, Gateway, Window, free_port, middle, start_origin
from bench.options import add_pylae
from bench.peers import Pylae, Setup
from bench.processes import BenchError, running
from bench.run import build_load
from bench.scenarios import SCENARIOS
from bench.watched import PATIENCE, Watched, exchange, scraping

_TTL = 3
"""Seconds that an instance stays without a beat."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the bench; 1 if there is no figure, or a request has failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.admin", description=__doc__)
    parser.add_argument("--scrapes", type=float, default=10.0, help="scrapes per second; default 10")
    parser.add_argument("--rounds", type=int, default=5, help="windows without and with them; default 5")
    parser.add_argument("--duration", type=float, default=4.0, help="seconds per window; default 4")
    parser.add_argument("--instances", type=int, default=500, help="instances that beat; default 500")
    parser.add_argument("--seconds", type=int, default=60, help="how long they beat, once a second; default 60")
    add_pylae(parser)
    options = parser.parse_args(argv)
    program = options.pylae.absolute() if options.pylae else Pylae.find()
    peer = Watched("pylae", program, {"services": {"many": {"discovery": {"heartbeat": {"ttl": _TTL}}}}})
    try:
        load = build_load()
        os.sched_setaffinity(0, {LOAD_CORE})
        with tempfile.TemporaryDirectory(prefix="pylae-bench-") as name, contextlib.ExitStack() as stack:
            origin, port = start_origin(load, Path(name))
            stack.enter_context(running(origin))
            gateway = Gateway(peer, Setup(SCENARIOS["proxy"], free_port(), port, Path(name)))
            stack.callback(gateway.process.end)
            gateway.wait(load)
            print(_scraped(gateway, peer, load, options), flush=True)
            print(_beaten(gateway, peer, options), flush=True)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _scraped(gateway: Gateway, peer: Watched, load: Path, options: argparse.Namespace) -> str:
    """Throughput and CPU time of the gateway without and with scrapes, in turn."""
    window = Window(0.5, options.duration)
    alone, scraped = [], []
    waits: list[float] = []
    for _ in range(options.rounds):
        alone.append(gateway.measure(load, window))
        with scraping(peer, options.scrapes) as durations:
            scraped.append(gateway.measure(load, window))
        waits += durations
    before, after = middle(alone, "rate"), middle(scraped, "rate")
    cpu, more = middle(alone, "cpu"), middle(scraped, "cpu")
    each = _cpu_of_scrapes(gateway, peer)
    waits.sort()
    return (
        f"{options.scrapes:g} scrapes/s: "
        f"{before:,.0f} requests/s without, {after:,.0f} with ({after / before - 1:+.1%}); "
        f"{cpu:.2f} and {more:.2f} µs of CPU per request ({more / cpu - 1:+.1%}); "
        f"a scrape takes {each * 1e3:.2f} ms of CPU when nothing else is done, "
        f"which is {each * options.scrapes:.2%} of a core; "
        f"under load its answer took {waits[len(waits) // 2] * 1e3:.1f} ms (median)"
    )


def _cpu_of_scrapes(gateway: Gateway, peer: Watched, count: int = 200) -> float:
    """Seconds of CPU time of one scrape, of many in a row while nothing else is asked."""
    with socket.create_connection(("127.0.0.1", peer.admin), PATIENCE) as connection:
        _, before = gateway.process.usage()
        for _ in range(count):
            exchange(connection, peer.request("GET", "/metrics"))
        _, after = gateway.process.usage()
    return (after.total - before.total) / count


def _beaten(gateway: Gateway, peer: Watched, options: argparse.Namespace) -> str:
    """Instances register and beat once a second, each on a connection of its own; none may be refused or leave."""
    _, before = gateway.process.usage()
    began = time.monotonic()
    applied = peer.ask("/status")["applied"]
    beats = asyncio.run(_beat_all(peer, options.instances, options.seconds))
    seconds = time.monotonic() - began
    _, after = gateway.process.usage()
    status, listed = peer.ask("/status"), peer.ask("/services/many")["instances"]
    left = gateway.process.log.read_text(errors="replace").count("has stopped beating")
    if len(listed) != options.instances or left:
        raise BenchError(f"{len(listed)} of {options.instances} instances are there, {left} have left")
    cpu = after.total - before.total
    return (
        f"{options.instances} instances: {beats:,} beats in {seconds:.0f} s, none refused, none left before its time; "
        f"{status['applied'] - applied} applies; {cpu / seconds:.1%} of a core, {cpu / beats * 1e6:.0f} µs per beat"
    )


async def _beat_all(peer: Watched, instances: int, seconds: int) -> int:
    return sum(await asyncio.gather(*(_beat(peer, index, instances, seconds) for index in range(instances))))


async def _beat(peer: Watched, index: int, instances: int, seconds: int) -> int:
    """Registers an instance and beats for it; how often."""
    loop = asyncio.get_running_loop()
    due = loop.time() + index / instances
    await asyncio.sleep(due - loop.time())
    reader, writer = await asyncio.open_connection("127.0.0.1", peer.admin)
    name = f"127.0.0.1:{10_000 + index}"
    request = peer.request("POST", "/services/many/instances", json.dumps({"url": f"http://{name}"}))
    for turn in range(seconds + 1):
        writer.write(request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        await reader.readexactly(length)
        if head.split()[1] not in (b"200", b"201"):
            raise BenchError(f"{name} was refused after {turn} beats: {head[:15].decode()}")
        request = peer.request("PUT", f"/services/many/instances/{name}/heartbeat")
        due += 1
        await asyncio.sleep(due - loop.time())
    writer.close()
    await writer.wait_closed()
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
