"""p99 and p99.9 at one rate, of HAProxy and of Pylae with all that goes on beside. `python -m bench.tails --help`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.measure import LOAD_CORE, Gateway, Sample, Window, free_port, middle, start_origin
from bench.options import add_load, add_pylae
from bench.peers import PEERS, Pylae, Setup
from bench.processes import BenchError, running
from bench.run import build_load
from bench.scenarios import SCENARIOS
from bench.watched import Watched, scraping

_LOGGED = "pylae, access log"
_BUSY = "pylae, access log, a scrape and a reload a second"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the bench; 1 if there is no figure."""
    parser = argparse.ArgumentParser(prog="python -m bench.tails", description=__doc__)
    parser.add_argument("--rate", type=float, help="requests per second; default: half of what HAProxy can do")
    parser.add_argument("--rounds", type=int, default=5, help="windows of each, in turn; default 5")
    parser.add_argument("--duration", type=float, default=10.0, help="seconds per window; default 10")
    add_pylae(parser)
    add_load(parser)
    options = parser.parse_args(argv)
    try:
        load = options.load.resolve() if options.load else build_load()
        os.sched_setaffinity(0, {LOAD_CORE})
        with tempfile.TemporaryDirectory(prefix="pylae-bench-") as name, contextlib.ExitStack() as stack:
            origin, port = start_origin(load, Path(name))
            stack.enter_context(running(origin))
            print(_report(_measure(options, load, port, Path(name), stack)), flush=True)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _measure(
    options: argparse.Namespace, load: Path, origin: int, folder: Path, stack: contextlib.ExitStack
) -> dict[str, list[Sample]]:
    """All windows, by what was measured."""
    program = options.pylae.absolute() if options.pylae else Pylae.find()
    log = {"policies": {"access_log": {"output": str(folder / "access.log")}}}
    busy = Watched(_BUSY, program, log)
    haproxy = PEERS["haproxy"]
    peers = (haproxy("haproxy", haproxy.find()), Pylae("pylae", program), Watched(_LOGGED, program, log), busy)
    gateways: dict[str, Gateway] = {}
    for peer in peers:
        gateway = Gateway(peer, Setup(SCENARIOS["proxy"], free_port(), origin, folder))
        stack.callback(gateway.process.end)
        gateway.wait(load)
        gateways[peer.name] = gateway
    rate = options.rate or gateways["haproxy"].measure(load, Window(0.5, 4.0)).rate / 2
    print(f"{rate:,.0f} requests/s, latency from the intended send time", flush=True)
    window = Window(0.5, options.duration, rate)
    samples: dict[str, list[Sample]] = {name: [] for name in gateways}
    for _ in range(options.rounds):
        for name, gateway in gateways.items():
            with contextlib.ExitStack() as beside:
                if name == _BUSY:
                    beside.enter_context(scraping(busy, 1))
                    beside.enter_context(_reloading(gateway, busy, folder))
                samples[name].append(gateway.measure(load, window))
    return samples


@contextlib.contextmanager
def _reloading(gateway: Gateway, peer: Watched, folder: Path) -> Iterator[None]:
    """Changes the timeout of the route once a second and has the gateway read its file.

    Raises:
        BenchError: a change was not put in force.
    """
    over, file = threading.Event(), folder / f"{peer.name}.yaml"
    before, changes = peer.ask("/status")["applied"], 0

    def reload() -> None:
        nonlocal changes
        while not over.wait(1):
            config = json.loads(file.read_text())
            config["routes"][0]["timeout"] = f"{30 + changes % 2}s"
            changes += 1
            file.write_text(json.dumps(config))
            gateway.process.send(signal.SIGHUP)

    thread = threading.Thread(target=reload)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    # The last one may be under way.
    if (applied := peer.ask("/status")["applied"] - before) < changes - 1:
        raise BenchError(f"{applied} of {changes} changes of the configuration were put in force")


def _report(samples: dict[str, list[Sample]]) -> str:
    """A table of the medians."""
    lines = ["| gateway | p50 µs | p99 µs | p99.9 µs | µs/request |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, found in samples.items():
        figures = (middle(found, field) for field in ("p50", "p99", "p999"))
        lines.append(f"| {name} | {' | '.join(f'{figure:,.0f}' for figure in figures)} | {middle(found, 'cpu'):.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
