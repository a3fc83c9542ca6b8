"""What large configurations cost, what starting a command costs, and what an idle gateway holds. `python -m bench.large
--help`.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.options import add_pylae
from bench.peers import Pylae
from bench.processes import BenchError, Process, running

_PATIENCE = 120.0
_CALM = 1.0
"""Seconds after which what follows an answer, such as giving memory back, is done."""
_SMALL = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table; 1 if a gateway or a command fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.large", description=__doc__)
    parser.add_argument("--routes", type=int, default=10_000, help="routes of the large configuration; default 10000")
    parser.add_argument("--services", type=int, default=1000, help="its services; default 1000")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured; default 5")
    add_pylae(parser)
    options = parser.parse_args(argv)
    program = (options.pylae or Pylae.find()).absolute()
    # Compiled modules are part of an installation, and of what is measured.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        with tempfile.TemporaryDirectory(prefix="pylae-bench-") as name:
            print("| what | CPU s, median | least | most |\n|---|---:|---:|---:|")
            _commands(program, Path(name), options)
            rows = [_gateway(program, Path(name), options) for _ in range(options.rounds)]
            for what in ("first apply", "reload of one changed route"):
                _row(what, [seconds for row in rows for seconds in row[what]])
            print("\n| resident MB | median | least | most |\n|---|---:|---:|---:|")
            for what in ("of the large one", "after reloads"):
                _row(what, [size for row in rows for size in row[what]], ".0f")
            _row("idle, of ten routes", [_idle(program, Path(name)) for _ in range(options.rounds)], ".0f")
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _row(what: str, values: Sequence[float], form: str = ".2f") -> None:
    shown = " | ".join(format(value, form) for value in (statistics.median(values), min(values), max(values)))
    print(f"| {what} | {shown} |", flush=True)


def written(routes: int, services: int, retries: int = 3) -> str:
    """A configuration as people write it; `retries` are those of the route in the middle."""
    lines = ["listeners: [127.0.0.1:0]", "workers: 1", "state: state", "services:"]
    for index in range(services):
        lines += [f"  service-{index}:", f"    instances: [http://127.0.0.1:{10_000 + index}]"]
    lines.append("routes:")
    for index in range(routes):
        lines += [
            f"  - name: route-{index}",
            f"    path: /area-{index % 100}/items-{index}/{{id}}",
            f"    service: service-{index % services}",
            "    method: [GET, POST]",
            "    auth_required: false",
        ]
        lines += ["    timeout: 5s"] * (index % 2)
        lines += ["    rate_limit: 100/minute"] * (index % 4 == 1)
        lines += [f"    retries: {retries}"] * (index == routes // 2)
    return "\n".join([*lines, ""])


def _commands(program: Path, folder: Path, options: argparse.Namespace) -> None:
    small, large = folder / "small.yaml", folder / "large.yaml"
    small.write_text(written(_SMALL, 3))
    large.write_text(written(options.routes, options.services))
    for what, words in (
        ("`pylae --help`", ["--help"]),
        (f"`pylae check` of {_SMALL} routes", ["check", small]),
        (f"`pylae check` of {options.routes} routes", ["check", large]),
    ):
        _cpu_of([program, *words])
        _row(what, [_cpu_of([program, *words]) for _ in range(options.rounds)])


def _cpu_of(command: Sequence[str | Path]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(command, capture_output=True, check=False)
    if ended.returncode:
        raise BenchError(f"{command} ended with {ended.returncode}: {ended.stderr.decode(errors='replace')[-600:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _gateway(program: Path, folder: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    """Starts a gateway with the large configuration, and has it reload three changes of one route."""
    file, log = folder / "pylae.yaml", folder / "log"
    file.write_text(written(options.routes, options.services))
    with running(Process([program, "run", file], None, log)) as process:
        _wait(process, "lets exchanges under way finish", 1)
        found = {"first apply": [_cpu(process)], "of the large one": [_resident(process)]}
        reloads = []
        for turn in range(1, 4):
            other = folder / "other"
            other.write_text(written(options.routes, options.services, 3 + turn))
            before = _cpu(process)
            # At once, so that it is not read for a look at it and for the reload.
            other.replace(file)
            process.send(signal.SIGHUP)
            _wait(process, "configuration applied", turn)
            reloads.append(_cpu(process) - before)
        found["reload of one changed route"], found["after reloads"] = reloads, [_resident(process)]
    return found


def _idle(program: Path, folder: Path) -> float:
    file = folder / "pylae.yaml"
    file.write_text(written(_SMALL, 3))
    with running(Process([program, "run", file], None, folder / "log")) as process:
        _wait(process, "lets exchanges under way finish", 1)
        return _resident(process)


def _wait(process: Process, text: str, times: int) -> None:
    end = time.monotonic() + _PATIENCE
    while process.log.read_text(errors="replace").count(text) < times:
        if time.monotonic() > end or not process.running:
            raise BenchError(process.tail())
        time.sleep(0.05)
    # What follows it counts, too.
    time.sleep(_CALM)


def _cpu(process: Process) -> float:
    return process.usage()[1].total


def _resident(process: Process) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    raise SystemExit(main())
