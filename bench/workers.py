"""What a request costs with one worker and with several, and where connections go. `python -m bench.workers --help`."""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.measure import Gateway, Sample, Window, free_port, middle, start_origin
from bench.options import add_load, add_pylae
from bench.peers import Pylae, Setup
from bench.processes import BenchError, running
from bench.run import build_load
from bench.scenarios import SCENARIOS

_CONNECTIONS = 256
"""Kept connections of which is told where they are."""
_RATE = 5000.0
"""Requests per second with a connection each: workers sleep in between."""
_PATIENCE = 5.0
_ESTABLISHED = "01"


class _Many(Pylae):
    """Pylae with so many workers."""

    def __init__(self, program: Path, workers: int) -> None:
        super().__init__(f"workers {workers}", program)
        self.workers = workers

    def command(self, setup: Setup) -> list[str | Path]:
        """The same, with more of them."""
        words = super().command(setup)
        file = Path(words[-1])
        file.write_text(json.dumps({**json.loads(file.read_text()), "workers": self.workers}))
        return words


@dataclass
class _Figures:
    """What one number of workers has shown, by round."""

    kept: list[Sample] = field(default_factory=list)
    """As fast as answers come, on connections that are kept."""
    busy: list[list[float]] = field(default_factory=list)
    """Seconds of CPU time of each worker meanwhile."""
    each: list[float] = field(default_factory=list)
    """Microseconds that workers take for a request with a connection of its own, at a low rate."""
    wakeups: list[float] = field(default_factory=list)
    """How often workers were woken for it."""
    calm: list[list[int]] = field(default_factory=list)
    """Connections of each worker that came one after the other."""
    burst: list[list[int]] = field(default_factory=list)
    """Those that came at once."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the bench; 1 if there is no figure."""
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--workers", default="1,2,4,8", help="numbers of workers; default %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="windows of each, in turn; default 3")
    parser.add_argument("--duration", type=float, default=3.0, help="seconds per window; default 3")
    add_pylae(parser)
    add_load(parser)
    options = parser.parse_args(argv)
    try:
        print(_report(_measure(options)), flush=True)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _measure(options: argparse.Namespace) -> dict[int, _Figures]:
    load = options.load.resolve() if options.load else build_load()
    program = options.pylae.absolute() if options.pylae else Pylae.find()
    numbers = [int(word) for word in options.workers.split(",")]
    found = {number: _Figures() for number in numbers}
    with tempfile.TemporaryDirectory(prefix="pylae-bench-") as name, contextlib.ExitStack() as stack:
        origin, port = start_origin(load, Path(name))
        stack.enter_context(running(origin))
        gateways = {}
        for number in numbers:
            for kind in ("proxy", "connect"):
                home = Path(name) / f"{kind}-{number}"
                home.mkdir()
                gateway = Gateway(_Many(program, number), Setup(SCENARIOS[kind], free_port(), port, home), None)
                stack.callback(gateway.process.end)
                gateway.wait(load)
                gateways[kind, number] = gateway
        for gateway in gateways.values():
            gateway.settle()
        for _ in range(options.rounds):
            for number, figures in found.items():
                _round(gateways["proxy", number], gateways["connect", number], figures, load, options.duration)
    return found


def _round(kept: Gateway, each: Gateway, figures: _Figures, load: Path, duration: float) -> None:
    before = _threads(kept)
    figures.kept.append(kept.measure(load, Window(0.3, duration)))
    figures.busy.append([after.seconds - before[thread].seconds for thread, after in _threads(kept).items()])
    before = _threads(each)
    requests = each.measure(load, Window(0.0, duration, _RATE)).requests
    after = [(before[name], thread) for name, thread in _threads(each).items()]
    figures.each.append(sum(thread.seconds - earlier.seconds for earlier, thread in after) * 1e6 / requests)
    figures.wakeups.append(sum(thread.wakeups - earlier.wakeups for earlier, thread in after) / requests)
    figures.calm.append(_spread(kept, at_once=False))
    figures.burst.append(_spread(kept, at_once=True))


@dataclass(frozen=True)
class _Thread:
    """What the kernel has counted of a worker."""

    seconds: float
    wakeups: int


def _threads(gateway: Gateway) -> dict[str, _Thread]:
    """The workers, by thread."""
    found = {}
    for task in sorted(Path(f"/proc/{gateway.process.pid}/task").iterdir()):
        if (task / "comm").read_text().startswith("pylae-worker"):
            nanoseconds = int((task / "schedstat").read_text().split()[0])
            status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines() if ":" in line)
            found[task.name] = _Thread(nanoseconds / 1e9, int(status["voluntary_ctxt_switches"]))
    return found


def _spread(gateway: Gateway, *, at_once: bool) -> list[int]:
    """How many connections each worker has of those that are opened one after the other, or all before the first says
    anything.

    Raises:
        BenchError: one was not served.
    """
    address = ("127.0.0.1", gateway.setup.port)
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(_CONNECTIONS):
            opened.append(stack.enter_context(socket.create_connection(address, _PATIENCE)))
            if not at_once:
                _ask(opened[-1])
        for connection in opened if at_once else ():
            _ask(connection)
        return _watched(gateway)


def _ask(connection: socket.socket) -> None:
    connection.sendall(b"GET /json HTTP/1.1\r\nHost: bench.test\r\n\r\n")
    if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
        raise BenchError("a connection was not served")


def _watched(gateway: Gateway) -> list[int]:
    """How many connections of clients each worker has: as many as its epoll watches."""
    process = Path(f"/proc/{gateway.process.pid}")
    rows = [line.split() for line in (process / "net/tcp").read_text().splitlines()[1:]]
    ours = {row[9] for row in rows if row[1].endswith(f":{gateway.setup.port:04X}") and row[3] == _ESTABLISHED}
    handles = {int(handle.name): str(handle.readlink()) for handle in (process / "fd").iterdir()}
    clients = {number for number, target in handles.items() if target.removeprefix("socket:").strip("[]") in ours}
    sets = set()
    for number, target in handles.items():
        if target == "anon_inode:[eventpoll]":
            words = [line.split() for line in (process / f"fdinfo/{number}").read_text().splitlines()]
            # An epoll may be open twice.
            sets.add(frozenset(int(line[1]) for line in words if line[0] == "tfd:") & clients)
    counts = sorted(len(one) for one in sets if one)
    return [0] * (len(_threads(gateway)) - len(counts)) + counts


def _report(found: dict[int, _Figures]) -> str:
    """A table with a line for each number of workers."""
    head = ["workers", "requests/s", "µs/request", "CPU of a worker", "µs with a connection each", "wakeups for it"]
    head += ["kept connections, opened one by one", "opened at once"]
    lines = [f"| {' | '.join(head)} |", f"|{'---:|' * len(head)}"]
    for number, figures in found.items():
        cells = [f"{middle(figures.kept, 'rate'):,.0f}", f"{middle(figures.kept, 'cpu'):.1f}", _shares(figures.busy)]
        cells += [f"{median(figures.each):.1f}", f"{median(figures.wakeups):.1f}"]
        cells += [_shares(figures.calm), _shares(figures.burst)]
        lines.append(f"| {number} | {' | '.join(cells)} |")
    lines += ["", "Shares are of the worker with the fewest and of the one with the most; 1 is an equal part."]
    return "\n".join(lines)


def _shares(rounds: Sequence[Sequence[float]]) -> str:
    """The smallest and the largest part of a worker, in medians of the rounds; 1 is an equal part."""
    parts = [[one * len(counts) / sum(counts) for one in counts] for counts in rounds]
    return f"{median(map(min, parts)):.2f}–{median(map(max, parts)):.2f}"


if __name__ == "__main__":
    raise SystemExit(main())
