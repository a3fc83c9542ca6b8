"""Tries faults and gives verdicts: `python -m chaos.run --help`, and `chaos/README.md` for what they are."""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers import PEERS
from bench.report import cell, heading

from chaos.faults import FAULTS
from chaos.fronts import ChaosError, PylaeFront, find
from chaos.stage import Check, Fault, Stage

LONGEST = 180.0
"""Seconds that one fault may take at one gateway; then it is red."""


@dataclass(frozen=True)
class Outcome:
    """What one fault came to at one gateway."""

    fault: Fault
    gateway: str
    checks: tuple[Check, ...]
    seconds: float
    untried: str = ""
    """Why it could not be tried, if so."""

    @property
    def red(self) -> bool:
        """Whether the verdict is red; peers only stand beside."""
        return not self.untried and not (self.checks and all(check.passed for check in self.checks))

    @property
    def verdict(self) -> str:
        """In a word."""
        return "not tried" if self.untried else "red" if self.red else "green"


def attempt(fault: Fault, gateway: str = PylaeFront.name, planted: str = "") -> Outcome:
    """Tries one fault on a thread of its own: what it does to its thread (a network of its own) ends with it."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        going = pool.submit(lambda: asyncio.run(_attempt(fault, gateway, planted)))
        try:
            return going.result()
        except KeyboardInterrupt:
            print("interrupted: the fault that is tried comes to its end", file=sys.stderr)
            raise


async def _attempt(fault: Fault, gateway: str, planted: str) -> Outcome:
    began, untried = time.monotonic(), ""
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="pylae-chaos-") as folder:
        try:
            async with Stage(Path(folder), find(gateway), planted, checks) as stage, asyncio.timeout(LONGEST):
                await fault.run(stage)
        except ChaosError as error:
            untried = str(error)
        except (OSError, EOFError, ValueError) as error:
            # Somebody who had to be there was not.
            checks.append(Check("the fault is tried to its end", False, f"{type(error).__name__}: {error}"))
    return Outcome(fault, gateway, tuple(checks), time.monotonic() - began, untried)


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The report."""
    lines = [
        *heading("Faults"),
        "- Versions: " + ", ".join(_version(name) for name in dict.fromkeys(outcome.gateway for outcome in outcomes)),
        "- nginx and HAProxy stand beside where a fault applies to them: the same numbers, no verdict.",
        "",
        "| fault | gateway | verdict | s | not as it must be |",
        "|---|---|---|---:|---|",
    ]
    for outcome in outcomes:
        wrong = outcome.untried or "; ".join(f"{one.what}: {one.found}" for one in outcome.checks if not one.passed)
        verdict = f"**{outcome.verdict}**" if outcome.gateway == PylaeFront.name else ""
        lines.append(
            f"| {outcome.fault.name} | {outcome.gateway} | {verdict} | {outcome.seconds:.0f} | {cell(wrong)} |"
        )
    for name in dict.fromkeys(outcome.fault.name for outcome in outcomes):
        tried = [outcome for outcome in outcomes if outcome.fault.name == name]
        lines += ["", f"## {name}", "", f"Tried: {tried[0].fault.what}.", ""]
        lines += ["| what must be | " + " | ".join(one.gateway for one in tried) + " |"]
        lines += ["|---|" + "---|" * len(tried)]
        for what in dict.fromkeys(check.what for one in tried for check in one.checks):
            cells = ({check.what: check for check in one.checks}.get(what) for one in tried)
            lines.append(f"| {cell(what)} | {' | '.join(_found(check) for check in cells)} |")
    return "\n".join(lines) + "\n"


def _found(check: Check | None) -> str:
    return "" if check is None else f"{'✓' if check.passed else '✗'} {cell(check.found)}".strip()


def _version(name: str) -> str:
    return f"{name} {PEERS[name](name, PEERS[name].find()).version()}"


def _red(outcome: Outcome) -> set[str]:
    return {check.what for check in outcome.checks if not check.passed}


def planted_table(outcomes: Sequence[tuple[str, Outcome]], without: Mapping[str, Outcome]) -> str:
    """What was planted, and which conditions saw it: those that are red with it and not `without`."""
    lines = [
        *heading("Planted mistakes"),
        "",
        "Each was planted once (`python -m chaos.run --plants`). It is seen by conditions that are red with it and",
        "green without it; one that is red without it too says nothing.",
        "",
        "| fault | planted | seen | by these conditions | red without it too |",
        "|---|---|---|---|---|",
    ]
    for planted, one in outcomes:
        fault, before = one.fault, _red(without[one.fault.name])
        seen = [check.what for check in one.checks if not check.passed and check.what not in before]
        cells = [fault.name, f"`{planted}`: {fault.plants[planted]}", "yes" if seen else "no"]
        cells += ["; ".join(seen) or one.untried, "; ".join(sorted(_red(one) & before))]
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    found = {(one.fault.name, what) for _, one in outcomes for what in _red(one) - _red(without[one.fault.name])}
    known = {(one.fault.name, check.what): None for _, one in outcomes for check in one.checks}
    blind = [f"{fault}: {what}" for fault, what in known if (fault, what) not in found]
    lines += ["", "Conditions that no mistake has made red:", "", *(f"- {cell(one)}" for one in blind or ["none"])]
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos.run", description="Faults, with verdicts.")
    parser.add_argument("--faults", default="", help=f"of {', '.join(FAULTS)}; default all")
    parser.add_argument("--peers", default="nginx,haproxy", help="tried beside; default nginx,haproxy")
    parser.add_argument(
        "--plant", default="", metavar="FAULT/MISTAKE", help="plants a mistake: the verdict must be red"
    )
    parser.add_argument("--plants", action="store_true", help="plants every mistake of the faults, one after the other")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    parser.add_argument("--out", type=Path, help="also write the report here")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """0 if every verdict is green, or every mistake that is planted was seen; 1 otherwise."""
    parser = _parser()
    options = parser.parse_args(argv)
    one, _, planted = options.plant.partition("/")
    names = [name for name in (one or options.faults).split(",") if name] or list(FAULTS)
    if unknown := [name for name in names if name not in FAULTS]:
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(FAULTS)}")
    if one and planted not in FAULTS[one].plants:
        parser.error(f"{options.plant}: choose from {', '.join(f'{one}/{name}' for name in FAULTS[one].plants)}")
    faults = [FAULTS[name] for name in names]
    if options.list:
        for fault in faults:
            print(f"{fault.name}: {fault.what}", *(f"  {name}: {why}" for name, why in fault.plants.items()), sep="\n")
        return 0
    # One way out, behind which nothing is left that was started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.plant or options.plants:
            wanted = [(name, fault) for fault in faults for name in fault.plants if planted in ("", name)]
            return _plant(wanted, options.out)
        return _try(faults, [peer for peer in options.peers.split(",") if peer], options.out)
    except KeyboardInterrupt:
        return 130


def _plant(wanted: Sequence[tuple[str, Fault]], out: Path | None) -> int:
    outcomes: list[tuple[str, Outcome]] = []
    without: dict[str, Outcome] = {}
    for planted, fault in wanted:
        if fault.name not in without:
            without[fault.name] = attempt(fault)
            _tell(without[fault.name])
        print(f"planted: {fault.plants[planted]}")
        outcomes.append((planted, attempt(fault, planted=planted)))
        _tell(outcomes[-1][1])
        _write(out, planted_table(outcomes, without))
    return int(not all(_red(one) - _red(without[one.fault.name]) for _, one in outcomes))


def _try(faults: Sequence[Fault], peers: Sequence[str], out: Path | None) -> int:
    outcomes: list[Outcome] = []
    for fault in faults:
        for gateway in (PylaeFront.name, *(peer for peer in peers if peer in fault.peers)):
            outcomes.append(attempt(fault, gateway))
            _tell(outcomes[-1])
            _write(out, markdown(outcomes))
    return int(any(outcome.red for outcome in outcomes if outcome.gateway == PylaeFront.name))


def _tell(outcome: Outcome) -> None:
    print(f"{outcome.fault.name} at {outcome.gateway}: {outcome.verdict} ({outcome.seconds:.0f} s) {outcome.untried}")
    for check in outcome.checks:
        print(f"  {'✓' if check.passed else '✗'} {check.what}: {check.found}", flush=True)


def _write(out: Path | None, report: str) -> None:
    """At once, so that a run that is interrupted leaves what it has."""
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(report)


if __name__ == "__main__":
    sys.exit(main())
