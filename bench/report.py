"""The result as Markdown for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.measure import Sample, Window, middle
from bench.scenarios import PLAIN, Scenario


@dataclass
class Result:
    """Samples of one scenario, by the peer's name."""

    scenario: Scenario
    builds: Sequence[str]
    """Names of the builds of Pylae among them, of which targets are asked."""
    saturated: dict[str, list[Sample]] = field(default_factory=dict)
    half: dict[str, list[Sample]] = field(default_factory=dict)
    """Samples at half of each peer's own median rate, if they were asked for."""
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What is said about the whole run."""

    command: str
    rounds: int
    window: Window
    versions: Mapping[str, str]
    started: datetime
    load_average: float
    """Over the minute before the run. Company on the machine makes user time dearer, and not for all peers alike."""
    share: float | None = None
    """The part of its core that each gateway may use; none is all."""


def machine() -> str:
    """The kind of machine: processor, cores, kernel."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    virtual = "virtual machine, " if re.search(r"^flags\s*:.*\bhypervisor\b", info, re.MULTILINE) else ""
    kernel = platform.release().partition("-")[0]
    return f"{virtual}{model.group(1) if model else platform.machine()}, {os.cpu_count()} cores, Linux {kernel}"


def heading(title: str, more: str = "") -> list[str]:
    """The first lines of a report that is written now; `more` stands behind the commit."""
    return [f"# {title}", "", f"- Date: {now():%Y-%m-%d %H:%M} UTC, commit {commit()}{more}", f"- Machine: {machine()}"]


def cell(text: str) -> str:
    """A text in a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def commit() -> str:
    """The commit of this checkout; `+` marks changes on top of it."""
    words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def now() -> datetime:
    """The time for the report."""
    return datetime.now(UTC)


def markdown(run: Run, results: Sequence[Result]) -> str:
    """The report."""
    lines = [
        "# CPU time per request",
        "",
        f"- Command: `{run.command}`",
        f"- Date: {run.started:%Y-%m-%d %H:%M} UTC, commit {commit()}",
        f"- Machine: {machine()}; load average {run.load_average:.1f} before the run (idle: 0)",
        "- Versions: " + ", ".join(f"{name} {version}" for name, version in run.versions.items()),
        (
            f"- Medians of {run.rounds} interleaved rounds of {run.window.duration:g} s after {run.window.warmup:g} s"
            f" of warm-up; every answer checked. Gateway on {_core(run.share)} with one worker, origin and load on the"
            + (" other, never asleep." if run.window.awake else " other.")
        ),
        "",
        (
            "µs/request is user and system time of all of a gateway's processes; × NAME is the ratio to that gateway;"
            " busy is how much of its core the gateway used; latencies are those of the saturated closed loop."
        ),
    ]
    lines += _targets(results)
    for result in results:
        lines += [
            "",
            f"## {result.scenario.name}: {result.scenario.title}, {result.scenario.connections} connections",
            "",
        ]
        lines += _table(result)
        lines += _costs(result)
        if result.half:
            lines += ["", "At half of its own rate above, latency from the intended send time:", "", *_half(result)]
        lines += [f"\nNo figure for {name}: {why}" for name, why in result.failures.items()]
    return "\n".join(lines) + "\n"


def _core(share: float | None) -> str:
    return "one core" if share is None else f"{share:.0%} of one core"


def _table(result: Result) -> list[str]:
    names = list(result.saturated)
    cpu = {name: middle(samples, "cpu") for name, samples in result.saturated.items()}
    head = ["gateway", "µs/request", "min–max", *(f"× {name}" for name in names)]
    head += ["user", "system", "busy", "requests/s", "p50 µs", "p99 µs", "RSS MB"]
    rows = []
    for name, samples in result.saturated.items():
        ratios = ["" if other == name else f"{cpu[name] / cpu[other]:.2f}" for other in names]
        low, high = min(sample.cpu for sample in samples), max(sample.cpu for sample in samples)
        rows.append(
            [
                name,
                f"**{cpu[name]:.1f}**",
                f"{low:.1f}–{high:.1f}",
                *ratios,
                f"{middle(samples, 'user'):.1f}",
                f"{middle(samples, 'system'):.1f}",
                f"{middle(samples, 'busy'):.0%}",
                f"{middle(samples, 'rate'):,.0f}",
                f"{middle(samples, 'p50'):,.0f}",
                f"{middle(samples, 'p99'):,.0f}",
                f"{middle(samples, 'resident') / 2**20:.1f}",
            ]
        )
    return _grid(head, rows)


def _targets(results: Sequence[Result]) -> list[str]:
    """What was measured of everything that has a target, and the target."""
    rows = []
    for result in results:
        for name, cost in _differences(result).items():
            if (most := result.scenario.most) is not None:
                what = f"{result.scenario.costs}, over the same without it"
                rows.append([result.scenario.name, what, name, f"{cost:+.2f} µs", f"≤ +{most:g} µs", _met(cost, most)])
        for other, most in result.scenario.ratios:
            for name, ratio in _ratios(result, other, results).items():
                rows.append(
                    [result.scenario.name, f"× {other}", name, f"{ratio:.2f}", f"≤ {most:g}", _met(ratio, most)]
                )
    if not rows:
        return []
    return ["", "## Targets", "", *_grid(["scenario", "what", "gateway", "measured", "target", ""], rows, 3)]


def _met(measured: float, most: float) -> str:
    """To the hundredths that are shown."""
    return "" if round(measured, 2) <= most else "**missed**"


def _ratios(result: Result, other: str, results: Sequence[Result]) -> dict[str, float]:
    """How many times as much as another gateway each build takes, or as the same build in another scenario."""
    beside = next((one.saturated for one in results if one.scenario.name == other), None)
    found = {}
    for name in filter(result.saturated.get, result.builds):
        samples = result.saturated.get(other, []) if beside is None else beside.get(name, [])
        if samples:
            found[name] = middle(result.saturated[name], "cpu") / middle(samples, "cpu")
    return found


def _differences(result: Result) -> dict[str, float]:
    """What that costs which the scenario is about, by build: the median of the differences of each round."""
    if result.scenario.hook == "burning":
        # It is not called: what it burns beside the requests is no cost of theirs.
        return {}
    found = {}
    for name, samples in result.saturated.items():
        plain = result.saturated.get(f"{name}{PLAIN}")
        if samples and plain:
            found[name] = median(whole.cpu - one.cpu for whole, one in zip(samples, plain, strict=False))
    return found


def _costs(result: Result) -> list[str]:
    lines: list[str] = []
    for name, cost in _differences(result).items():
        lines += ["", f"The {result.scenario.costs} costs {name} {cost:+.2f} µs a request."]
    return lines


def _half(result: Result) -> list[str]:
    rows = [
        [name, f"{middle(samples, 'rate'):,.0f}", f"{middle(samples, 'cpu'):.1f}"]
        + [f"{middle(samples, quantile):,.0f}" for quantile in ("p50", "p99", "p999")]
        for name, samples in result.half.items()
    ]
    return _grid(["gateway", "requests/s", "µs/request", "p50 µs", "p99 µs", "p99.9 µs"], rows)


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> list[str]:
    """A table whose first columns are texts; the others are figures."""
    rule = ["---"] * texts + ["---:"] * (len(head) - texts)
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]


def as_json(run: Run, results: Sequence[Result]) -> str:
    """Every sample, for programs that compare runs."""
    document = {
        "command": run.command,
        "date": run.started.isoformat(),
        "commit": commit(),
        "machine": machine(),
        "load_average": run.load_average,
        "versions": dict(run.versions),
        "scenarios": {
            result.scenario.name: {
                "saturated": {name: [asdict(one) for one in many] for name, many in result.saturated.items()},
                "half": {name: [asdict(one) for one in many] for name, many in result.half.items()},
                "failures": result.failures,
            }
            for result in results
        },
    }
    return json.dumps(document, indent=1) + "\n"
