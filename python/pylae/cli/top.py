"""`pylae top`: shows a running gateway as a table that is updated every second."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote
from pylae.cli.table import columns

_ENTER, _LEAVE, _HOME, _REST_OF_LINE, _REST = (
    "\x1b[?1049h\x1b[?25l",
    "\x1b[?25h\x1b[?1049l",
    "\x1b[H",
    "\x1b[K",
    "\x1b[J",
)
_DEAREST = 5
"""Most policies and hooks below the services."""
_ALL = 10_000
_COLOURS = {"healthy": "green", "degraded": "yellow", "unhealthy": "red"}


@click.command(short_help="Watch a running gateway.")
@click.option("--interval", type=click.FloatRange(0.1), default=1.0, help="Seconds between updates. Default: 1.")
@click.option("--once", is_flag=True, help="Print it once. The default if the output is not a terminal.")
@click.option("--costs", "only_costs", is_flag=True, help="Show only what policies and hooks cost, all of them.")
@options
def top(gateway: Remote, interval: float, once: bool, only_costs: bool) -> None:
    """Show the services of a running gateway, busiest first: rate, errors and durations of the last minute, and
    instances. Below them are the policies and hooks that took most time in that minute.

    Ctrl-C ends it.
    """
    paint = all_costs if only_costs else picture
    if once or not sys.stdout.isatty():
        for line in paint(gateway):
            click.echo(line)
        return
    click.echo(_ENTER, nl=False)
    try:
        while True:
            lines = list(paint(gateway))[: shutil.get_terminal_size().lines - 1]
            click.echo(_HOME + "".join(f"{line}{_REST_OF_LINE}\n" for line in lines) + _REST, nl=False)
            time.sleep(interval)
    except KeyboardInterrupt:
        pass
    finally:
        click.echo(_LEAVE, nl=False)


def picture(gateway: Remote) -> Iterator[str]:
    """Returns the lines to show."""
    summary, verdict = gateway.get("/metrics/summary"), gateway.get("/health", always="true")
    recent, connections = summary["recent"], summary["connections"]
    health = click.style(verdict["status"], fg=_COLOURS[verdict["status"]], bold=True)
    rate, busy = f"{recent['rate']:.1f} requests/s", f"{summary['in_flight']} in flight"
    yield f"{health}  {rate}  {busy}  {connections['active']} connections"
    cache = summary["cache"]
    looked = cache["hits"] + cache["misses"]
    share = f"{cache['hits'] / looked:.0%} hits" if looked else "no look-ups"
    yield f"{_durations(recent)}  cache {share}  {summary['retries']} retries"
    yield ""
    rows = [_row(one, summary) for one in gateway.get("/services")]
    rows.sort(key=lambda row: -float(row[1]))
    yield from columns(("SERVICE", "REQ/S", "ERRORS", "MEAN", "P50", "P95", "P99", "UP", "IN FLIGHT", "BREAKER"), rows)

    dearest = gateway.get("/costs", most=_DEAREST)
    if dearest["costs"]:
        yield ""
        yield from _costs(dearest)


def all_costs(gateway: Remote) -> Iterator[str]:
    """Returns the lines about policies and hooks."""
    return _costs(gateway.get("/costs", most=_ALL))


def _costs(told: Mapping[str, Any]) -> Iterator[str]:
    header = ("", "NAME", "ROUTE", "CALLS/S", "TIME", "WAITED", "SHARE", "REFUSED", "FAILED", "OVER BUDGET", "")
    return columns(header, [_cost(one, told["window"]) for one in told["costs"]])


def _cost(one: Mapping[str, Any], window: float) -> tuple[str, ...]:
    """Returns what a policy or hook costs: how often, how long per call, which share of the time of all."""
    recent, hook = one["recent"], one["hook"]
    calls = recent["calls"]

    def count(key: str) -> str:
        return str(recent[key] or "")

    return (
        one["kind"],
        one["name"],
        one["route"] or "(early)",
        f"{calls / window:.1f}" if window else "-",
        _brief(recent["seconds"] / calls if calls else 0.0),
        _brief(recent["waited"] / calls if calls else 0.0),
        f"{one['share']:.0%}",
        count("rejections"),
        count("failures"),
        count("over_budget"),
        "moved off the workers" if hook and hook["demoted"] else "",
    )


def _brief(seconds: float) -> str:
    """Returns a short time in its best unit, or nothing for none."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns" if seconds > 0 else ""


def _row(service: Mapping[str, Any], summary: Mapping[str, Any]) -> tuple[str, ...]:
    recent = summary["services"].get(service["name"], {}).get("recent", {"rate": 0.0, "errors": 0, "requests": 0})
    instances = service["instances"]
    up = sum(one["state"] == "up" for one in instances)
    errors = f"{recent['errors'] / recent['requests']:.1%}" if recent["requests"] else "-"
    return (
        service["name"],
        f"{recent['rate']:.1f}",
        errors,
        *(_milliseconds(recent.get(key)) for key in ("mean", "p50", "p95", "p99")),
        f"{up}/{len(instances)}",
        str(sum(one["in_flight"] for one in instances)),
        summary["breakers"].get(service["name"], ""),
    )


def _durations(recent: Mapping[str, Any]) -> str:
    return "  ".join(f"{key} {_milliseconds(recent[key])}" for key in ("mean", "p50", "p95", "p99"))


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms"
