"""Runs suites of others against the gateway: `python -m conformance.run --help`, and `conformance/README.md`."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import BenchError
from bench.report import cell, heading

from conformance.suites import SUITES, Counted, Suite


@dataclass(frozen=True)
class Outcome:
    """What a suite came to."""

    suite: Suite
    counted: Counted
    wrong: Sequence[str]
    """What is not as it must be; none is green."""
    seconds: float


def attempt(suite: Suite) -> Outcome:
    """Runs one suite."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pylae-conformance-") as folder:
        try:
            counted = suite.run(Path(folder))
            wrong = suite.wrong(counted)
        except BenchError as error:
            counted, wrong = Counted(0, ()), [str(error)]
    return Outcome(suite, counted, wrong, time.monotonic() - began)


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The report."""
    lines = [
        *heading("Conformance"),
        "",
        "| suite | what it asks | cases | passed | verdict | s | not as it must be |",
        "|---|---|---:|---:|---|---:|---|",
    ]
    for one in outcomes:
        cells = [one.suite.name, one.suite.what, str(one.counted.cases), str(one.counted.passed)]
        cells += ["**red**" if one.wrong else "**green**", f"{one.seconds:.0f}", "; ".join(one.wrong)]
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    known = [f"- {one.suite.name}, {name}: {why}" for one in outcomes for name, why in one.suite.known.items()]
    return "\n".join([*lines, *(["", "Known to fail:", "", *known] if known else [])]) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """0 if every verdict is green, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m conformance.run", description="Suites, with verdicts.")
    parser.add_argument("--suites", default="", help=f"of {', '.join(SUITES)}; default all")
    parser.add_argument("--out", type=Path, help="also write the report here")
    options = parser.parse_args(argv)
    names = [name for name in options.suites.split(",") if name] or list(SUITES)
    if unknown := [name for name in names if name not in SUITES]:
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(SUITES)}")
    # One way out, behind which nothing is left that was started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcomes: list[Outcome] = []
    try:
        for name in names:
            outcomes.append(attempt(SUITES[name]))
            one = outcomes[-1]
            verdict = "red" if one.wrong else "green"
            print(f"{name}: {verdict}, {one.counted.passed} of {one.counted.cases} ({one.seconds:.0f} s)", flush=True)
            for what in one.wrong:
                print(f"  {what}", flush=True)
            if options.out:
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(markdown(outcomes))
    except KeyboardInterrupt:
        return 130
    return int(any(one.wrong for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
