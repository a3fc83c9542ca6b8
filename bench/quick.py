"""Two builds of Pylae in three minutes: what has changed beyond noise. `python -m bench.quick --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench import report, run
from bench.options import add_load
from bench.peers import Pylae
from bench.processes import BenchError

_SCENARIOS = ("proxy", "policies", "tls", "h2", "connect", "body64k")
_OLD, _NEW = "old", "new"
_ROUNDS = 9
_SMALLEST = 0.01
"""A change that is smaller is none, however often it shows."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the bench; 1 if there is a scenario without a figure."""
    parser = argparse.ArgumentParser(prog="python -m bench.quick", description=__doc__)
    parser.add_argument("old", type=Path, help="the pylae command of a build")
    parser.add_argument("new", type=Path, nargs="?", help="that of the build to compare with it; default: in .venv")
    parser.add_argument("--scenarios", default=",".join(_SCENARIOS), help="default %(default)s")
    add_load(parser)
    options = parser.parse_args(argv)
    try:
        builds = (f"{_OLD}={options.old}", f"{_NEW}={options.new or Pylae.find()}")
        words = ["--peers", "pylae", "--scenarios", options.scenarios, "--rounds", str(_ROUNDS)]
        words += ["--duration", "1", "--warmup", "0.3", *(word for build in builds for word in ("--pylae", build))]
        words += ["--load", str(options.load)] if options.load else []
        _, results = run.run(run.parser().parse_args(words), "")
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(_report(results))
    return 1 if any(result.failures for result in results) else 0


def _report(results: Sequence[report.Result]) -> str:
    """A table with a line for each scenario."""
    lines = [
        "| scenario | old µs/request | new µs/request | new / old | beyond noise |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for result in results:
        if result.failures:
            lines.append(f"| {result.scenario.name} | {'; '.join(result.failures.values())} | | | |")
            continue
        old, new = ([sample.cpu for sample in result.saturated[name]] for name in (_OLD, _NEW))
        ratios = [after / before for before, after in zip(old, new, strict=True)]
        found = f"{median(old):.2f} | {median(new):.2f} | {median(ratios):.3f} | {_verdict(ratios)}"
        lines.append(f"| {result.scenario.name} | {found} |")
    return "\n".join(lines)


def _verdict(ratios: Sequence[float]) -> str:
    """Dearer or cheaper if all rounds but one say so at least: by chance that happens once in 26 times (sign test)."""
    middle = median(ratios)
    dearer = sum(ratio > 1 for ratio in ratios)
    if abs(middle - 1) < _SMALLEST or 1 < dearer < len(ratios) - 1:
        return "no"
    return "dearer" if middle > 1 else "cheaper"


if __name__ == "__main__":
    raise SystemExit(main())
