"""What hook hosts bring and cost: throughput, calls, and the routes beside them. `python -m bench.hosts --help`."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import http.client
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from bench.measure import LOAD_CORE, Gateway, Sample, Window, free_port, middle, start_origin
from bench.options import add_load, add_pylae
from bench.peers import Pylae, Setup
from bench.processes import BenchError, Process, running
from bench.proof import Counter
from bench.run import build_load
from bench.scenarios import SCENARIOS, Scenario

_FASTER, _DEARER, _LATER = 1.8, 5.0, 1.1
"""Targets: two hosts over one, µs of a call, and p99 of other routes over that of a gateway without hooks. It should be
one; in one run the same gateway differs from itself by a few percent."""
_ONE, _TWO, _INSIDE, _OUTSIDE = "hook_busy2000_hosts1", "hook_busy2000_hosts2", "hook_busy50", "hook_busy50_hosts1"
_ALONE, _BURNER, _HOST = "nothing", "another program", "a hook host"
_BESIDE = {
    _ALONE: SCENARIOS["proxy"],
    _BURNER: SCENARIOS["proxy"],
    _HOST: dataclasses.replace(SCENARIOS["proxy"], hook="beside", hosts=1, features=SCENARIOS[_ONE].features),
}
"""What burns core 1, where origin and load run, while a gateway on core 0 serves routes without hooks."""
_BURN = """\
import os, time
os.setpriority(os.PRIO_PROCESS, 0, 10)
while True:
    pass
"""
_CLIENTS = 4
"""That keep the host busy."""
_PATIENCE = 30.0

Rounds = Mapping[str, list[Sample]]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the bench; 1 if there is no figure, or if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.hosts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="windows of each, in turn; default 5")
    parser.add_argument("--duration", type=float, default=3.0, help="seconds per window; default 3")
    add_pylae(parser)
    add_load(parser)
    options = parser.parse_args(argv)
    try:
        load = options.load.resolve() if options.load else build_load()
        peer = Pylae("pylae", options.pylae.absolute() if options.pylae else Pylae.find())
        os.sched_setaffinity(0, {LOAD_CORE})
        window = Window(0.5, options.duration)
        calls = _calls(peer, load, window, options.rounds)
        beside = _beside(peer, load, window, options.rounds)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return _report(calls, beside)


@contextlib.contextmanager
def _started(peer: Pylae, load: Path, scenarios: Mapping[str, Scenario]) -> Iterator[dict[str, Gateway]]:
    """A gateway for each scenario."""
    with tempfile.TemporaryDirectory(prefix="pylae-bench-") as name, contextlib.ExitStack() as stack:
        origin, port = start_origin(load, Path(name))
        stack.enter_context(running(origin))
        gateways = {}
        for number, (key, scenario) in enumerate(scenarios.items()):
            home = Path(name) / str(number)
            home.mkdir()
            gateways[key] = Gateway(peer, Setup(scenario, free_port(), port, home, admin=free_port()))
            stack.callback(gateways[key].process.end)
            gateways[key].wait(load)
        yield gateways


def _calls(peer: Pylae, load: Path, window: Window, rounds: int) -> Rounds:
    """Windows in which every request meets a hook. What they count shows that it does."""
    with _started(peer, load, {name: SCENARIOS[name] for name in (_ONE, _TWO, _INSIDE, _OUTSIDE)}) as gateways:
        counters = {name: Counter(gateway) for name, gateway in gateways.items()}
        samples: dict[str, list[Sample]] = {name: [] for name in gateways}
        for _ in range(rounds):
            for name, gateway in gateways.items():
                samples[name].append(gateway.measure(load, window))
        for name, found in samples.items():
            counters[name].prove(sum(sample.requests for sample in found))
    return samples


def _beside(peer: Pylae, load: Path, window: Window, rounds: int) -> Rounds:
    """Windows at half of what the gateway can do, without hooks on the routes that are asked."""
    with _started(peer, load, _BESIDE) as gateways:
        half = dataclasses.replace(window, rate=gateways[_ALONE].measure(load, window).rate / 2)
        samples: dict[str, list[Sample]] = {name: [] for name in gateways}
        for _ in range(rounds):
            for name, gateway in gateways.items():
                with contextlib.ExitStack() as beside:
                    if name == _BURNER:
                        command = [sys.executable, "-c", _BURN]
                        beside.enter_context(running(Process(command, LOAD_CORE, gateway.setup.folder / "burner")))
                    elif name == _HOST:
                        beside.enter_context(_hooked(gateway.setup))
                    samples[name].append(gateway.measure(load, half))
    return samples


@contextlib.contextmanager
def _hooked(setup: Setup) -> Iterator[None]:
    """Keeps the host busy from a few connections.

    Raises:
        BenchError: an answer was wrong, or the host was not asked.
    """
    over = threading.Event()
    answers: list[int] = []
    failures: list[int] = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", setup.port, timeout=_PATIENCE)
        with contextlib.closing(connection):
            while not over.is_set():
                connection.request("GET", "/unasked")
                answer = connection.getresponse()
                answer.read()
                # The origin does not have it.
                (answers if answer.status == 404 else failures).append(answer.status)

    clients = [threading.Thread(target=ask) for _ in range(_CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        over.set()
        for client in clients:
            client.join()
    if failures or not answers:
        raise BenchError(f"{len(failures)} hooked requests failed beside {len(answers)} answers: {failures[:1]}")


def _report(calls: Rounds, beside: Rounds) -> int:
    """Prints all windows, and the three figures with their targets."""
    print("| hook | where | requests/s | µs/request |\n|---|---|---:|---:|")
    for name, samples in calls.items():
        title = SCENARIOS[name].title.partition(": ")[2]
        hook, _, where = title.rpartition(", ")
        print(f"| {hook} | {where} | {middle(samples, 'rate'):,.0f} | {middle(samples, 'cpu'):.1f} |")
    print("\n| burns core 1 | requests/s without hooks | p50 µs | p99 µs | p99.9 µs |\n|---|---:|---:|---:|---:|")
    for name, samples in beside.items():
        latencies = " | ".join(f"{middle(samples, quantile):,.0f}" for quantile in ("p50", "p99", "p999"))
        print(f"| {name} | {middle(samples, 'rate'):,.0f} | {latencies} |")
    faster = median(two.rate / one.rate for one, two in zip(calls[_ONE], calls[_TWO], strict=True))
    dearer = median(out.cpu - inside.cpu for inside, out in zip(calls[_INSIDE], calls[_OUTSIDE], strict=True))
    later = median(host.p99 / other.p99 for other, host in zip(beside[_BURNER], beside[_HOST], strict=True))
    figures = (
        ("requests/s of two hosts over one, 2 ms each", f"{faster:.2f}", f"≥ {_FASTER}", faster >= _FASTER),
        (
            "CPU of 50 µs in a host over those in process",
            f"{dearer:+.1f} µs",
            f"≤ +{_DEARER:g}",
            dearer <= _DEARER,
        ),
        (f"p99 beside a hook host over that beside {_BURNER}", f"{later:.2f}", f"≤ {_LATER}", later <= _LATER),
    )
    print("\n| figure | measured | target | |\n|---|---:|---:|---|")
    for what, measured, target, is_met in figures:
        print(f"| {what} | {measured} | {target} | {'' if is_met else '**missed**'} |")
    return int(not all(is_met for *_, is_met in figures))


if __name__ == "__main__":
    raise SystemExit(main())
