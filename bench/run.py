"""Measures Pylae against its peers: `python -m bench.run --help`, and `bench/README.md` for the method."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from bench import report
from bench.identity import identity_server, with_credential
from bench.measure import LOAD_CORE, Gateway, Sample, Window, free_port, middle, start_origin
from bench.options import add_load
from bench.peers import PEERS, HAProxy, Peer, Plain, Pylae, Setup
from bench.processes import BenchError, running
from bench.proof import Counter, prove_refusal
from bench.scenarios import COSTS, SCENARIOS, Scenario
from bench.share import Share, share

_ROOT = Path(__file__).resolve().parent.parent
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclasses.dataclass(frozen=True)
class _Bench:
    """What every scenario of a run shares."""

    load: Path
    origin: int
    calls: int
    """The origin of gRPC calls."""
    identity: int
    """The server that knows users."""
    store: Mapping[str, str]
    """The store of clusters."""
    folder: Path
    window: Window
    rounds: int
    half: bool
    part: Share | None
    """What each gateway has of its core; none is all."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the bench; 0 if every peer has every figure, 1 otherwise, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    options = parser().parse_args(words)
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    try:
        about, results = run(options, shlex.join(["python", "-m", "bench.run", *words]))
        print(report.markdown(about, results))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; everything that it started has been ended", file=sys.stderr)
        return 130
    return 1 if any(result.failures for result in results) else 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Leaves the run once; a second Ctrl-C must not interrupt the ending of what it started."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def parser() -> argparse.ArgumentParser:
    """The options of a run."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description="CPU time per request, against peers.")
    names = ", ".join(SCENARIOS)
    parser.add_argument(
        "--scenarios",
        type=_names({**{name: (name,) for name in SCENARIOS}, "costs": COSTS}),
        default=list(SCENARIOS),
        help=f"of {names}; costs: those that measure what something costs over the same without it; default all",
    )
    names = ", ".join(PEERS)
    known = {name: (name,) for name in PEERS}
    parser.add_argument("--peers", type=_names(known), default=list(PEERS), help=f"of {names}; default all")
    parser.add_argument(
        "--pylae",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="a build of Pylae (its `pylae` command), repeatable to compare builds; default: pylae in .venv",
    )
    parser.add_argument(
        "--haproxy",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="another HAProxy (its `haproxy` command), measured beside the one that is found; repeatable",
    )
    parser.add_argument("--rounds", type=_number(int, 1, 100), default=3, help="interleaved rounds; default 3")
    parser.add_argument("--duration", type=_number(float, 0.1, 600), default=4.0, help="seconds per window; default 4")
    parser.add_argument("--warmup", type=_number(float, 0, 60), default=0.5, help="seconds before each; default 0.5")
    parser.add_argument(
        "--awake",
        action="store_true",
        help="load and origin never sleep, so that no gateway pays for waking their core (not over HTTP/2)",
    )
    parser.add_argument(
        "--share",
        type=_number(float, 0.1, 0.9),
        metavar="PART",
        help="each gateway may use this part of its core, so that it is busy even if the load is not fast enough",
    )
    parser.add_argument("--half", action="store_true", help="also measure latency at half of each peer's own rate")
    add_load(parser)
    parser.add_argument("--out", type=Path, help="also write the Markdown report here")
    parser.add_argument("--json", type=Path, help="write every sample here")
    return parser


def _names(known: Mapping[str, Collection[str]]) -> Callable[[str], list[str]]:
    """Reads names, each of which may stand for several."""

    def parse(text: str) -> list[str]:
        chosen = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in chosen if name not in known]
        if unknown or not chosen:
            raise argparse.ArgumentTypeError(f"{text!r}: choose from {', '.join(known)}")
        return list(dict.fromkeys(name for one in chosen for name in known[one]))

    return parse


def _number(kind: Callable[[str], float], low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = high + 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r}: a number from {low} to {high} is needed")
        return value

    return parse


def run(options: argparse.Namespace, command: str) -> tuple[report.Run, list[report.Result]]:
    """Measures what the options ask for.

    Raises:
        BenchError: something is missing, so that nothing can be measured.
    """
    if not {0, 1} <= os.sched_getaffinity(0):
        raise BenchError("cores 0 and 1 are needed: one for the gateway, one for the load")
    load = options.load.resolve() if options.load else build_load()
    peers = _find_peers(options, load)
    window = Window(options.warmup, options.duration, awake=options.awake)
    versions = {peer.name: peer.version() for peer in peers}
    about = report.Run(command, options.rounds, window, versions, report.now(), os.getloadavg()[0], options.share)
    os.sched_setaffinity(0, {LOAD_CORE})
    results = []
    with tempfile.TemporaryDirectory(prefix="pylae-bench-") as name:
        process, port = start_origin(load, Path(name), *(["--awake"] if options.awake else []))
        with (
            running(process),
            share(options.share) if options.share else contextlib.nullcontext() as part,
            _calls(load, Path(name)) as calls,
            identity_server() as identity,
            _store(Path(name), options.scenarios) as store,
        ):
            rounds, half = options.rounds, options.half
            bench = _Bench(load, port, calls, identity, store, Path(name), window, rounds, half, part)
            for scenario in (with_credential(SCENARIOS[name]) for name in options.scenarios):
                results.append(_scenario(bench, scenario, _asked(peers, scenario)))
                # After each scenario, so that a run that is interrupted leaves what it has.
                _write(options, about, results)
    return about, results


def _asked(peers: Sequence[Peer], scenario: Scenario) -> list[Peer]:
    """The peers that can do it; where a cost is asked for each with its like without that, so that both see the same
    moments.
    """
    asked: list[Peer] = []
    for peer in peers:
        if peer.supports(scenario):
            asked.append(peer)
            if scenario.costs and isinstance(peer, Pylae):
                asked.append(Plain(peer))
    return asked


@contextlib.contextmanager
def _calls(load: Path, folder: Path) -> Iterator[int]:
    """The port of an origin of gRPC calls, for as long as it is needed."""
    process, port = start_origin(load, folder, "--grpc")
    with running(process):
        yield port


@contextlib.contextmanager
def _store(folder: Path, scenarios: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """Where the store of clusters is, and its password; nothing if no scenario has one."""
    if not any(SCENARIOS[name].clients for name in scenarios):
        yield {}
        return
    # The other scenarios need nothing but a build of Pylae.
    from pylae.demo.store import DemoStore, StoreError

    try:
        with DemoStore(folder, lambda code: print(f"the store has ended with {code}", file=sys.stderr)) as store:
            yield {"store": store.url, "password": store.password}
    except StoreError as error:
        raise BenchError(f"{error}; {error.hint}, or leave limit_shared… out with --scenarios") from error


def _write(options: argparse.Namespace, about: report.Run, results: list[report.Result]) -> None:
    for path, text in ((options.out, report.markdown(about, results)), (options.json, report.as_json(about, results))):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def build_load() -> Path:
    """The program that makes origin and load.

    Raises:
        BenchError: it cannot be built.
    """
    words = ["cargo", "build", "--release", "--quiet", "--locked", "-p", "pylae-bench-load"]
    try:
        subprocess.run(words, cwd=_ROOT, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchError(f"cannot build pylae-bench-load: {error}") from error
    return (_ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "pylae-bench-load").resolve()


def _find_peers(options: argparse.Namespace, load: Path) -> list[Peer]:
    peers: list[Peer] = []
    missing = []
    for name in options.peers:
        try:
            if name == "floor":
                peers.append(PEERS[name](name, load))
            elif name == "pylae" and options.pylae:
                peers += [_named(text, Pylae) for text in options.pylae]
            else:
                peers.append(PEERS[name](name, PEERS[name].find()))
        except BenchError as error:
            missing.append(str(error))
    if missing:
        raise BenchError("\nbench: ".join(missing))
    peers += [_named(text, HAProxy) for text in options.haproxy]
    if len({peer.name for peer in peers}) < len(peers):
        raise BenchError("two peers have the same name")
    return peers


def _named(text: str, kind: type[Peer]) -> Peer:
    name, separator, path = text.partition("=")
    program = Path(path).expanduser().absolute()
    if not separator or not name or not program.is_file():
        word = kind.__name__.lower()
        raise BenchError(f"--{word} {text}: NAME=PATH is needed, where PATH is a {word} command")
    return kind(name, program)


def _scenario(bench: _Bench, scenario: Scenario, peers: list[Peer]) -> report.Result:
    builds = [peer.name for peer in peers if isinstance(peer, Pylae) and not isinstance(peer, Plain)]
    result = report.Result(scenario, builds)
    with contextlib.ExitStack() as stack:
        gateways: dict[str, Gateway] = {}
        counters: dict[str, Counter] = {}
        for peer in peers:
            with _recorded(result, peer.name):
                gateway = _started(bench, scenario.plain if isinstance(peer, Plain) else scenario, peer, stack)
                counters[peer.name] = Counter(gateway)
                gateways[peer.name] = gateway
        result.saturated = _rounds(bench, result, gateways, dict.fromkeys(gateways, bench.window))
        for name, samples in list(result.saturated.items()):
            with _recorded(result, name):
                counters[name].prove(sum(sample.requests for sample in samples))
            if name in result.failures:
                del gateways[name], result.saturated[name]
        if bench.half:
            rates = {name: middle(samples, "rate") / 2 for name, samples in result.saturated.items()}
            windows = {name: dataclasses.replace(bench.window, rate=rate) for name, rate in rates.items()}
            result.half = _rounds(bench, result, gateways, windows)
    return result


def _started(bench: _Bench, scenario: Scenario, peer: Peer, stack: contextlib.ExitStack) -> Gateway:
    """A gateway that answers right, and refuses what it should refuse. Of a cluster there are two: a limit that nobody
    else counts is not shared.
    """
    gateways = []
    for node in range(2 if scenario.clients else 1):
        home = bench.folder / scenario.name / f"{peer.name}-{node}"
        home.mkdir(parents=True)
        origin = bench.calls if "grpc" in scenario.features else bench.origin
        setup = Setup(scenario, free_port(), origin, home, bench.identity, free_port(), bench.store)
        gateways.append(Gateway(peer, setup, part=bench.part))
        stack.callback(gateways[-1].process.end)
        gateways[-1].wait(bench.load)
        prove_refusal(setup)
    return gateways[0]


def _rounds(
    bench: _Bench, result: report.Result, gateways: dict[str, Gateway], windows: dict[str, Window]
) -> dict[str, list[Sample]]:
    """Measures all gateways in turn, round after round; one that fails has no figure and is not asked again."""
    samples: dict[str, list[Sample]] = {name: [] for name in gateways}
    for turn in range(bench.rounds):
        for name, gateway in list(gateways.items()):
            with _recorded(result, name):
                sample = gateway.measure(bench.load, windows[name])
                samples[name].append(sample)
                progress = f"{result.scenario.name} {turn + 1}/{bench.rounds} {name}: {sample.cpu:.1f} µs/request"
                print(progress, file=sys.stderr, flush=True)
            if name in result.failures:
                del gateways[name], samples[name]
    return samples


@contextlib.contextmanager
def _recorded(result: report.Result, name: str) -> Iterator[None]:
    """Turns a failure of one peer into a note in the result, so that the others still get their figures."""
    try:
        yield
    except BenchError as error:
        result.failures[name] = str(error)
        print(f"{result.scenario.name} {name}: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
