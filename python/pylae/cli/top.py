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
_COLOURS = {"healthy": "green", "degraded": "yellow", "unhealthy": "red"}


@click.command(short_help="Watch a running gateway.")
@click.option("--interval", type=click.FloatRange(0.1), default=1.0, help="Seconds between updates. Default: 1.")
@click.option("--once", is_flag=True, help="Print it once. The default if the output is not a terminal.")
@options
def top(gateway: Remote, interval: float, once: bool) -> None:
    """Show the services of a running gateway, busiest first: rate, errors and durations of the last minute, and
    instances.

    Ctrl-C ends it.
    """
    if once or not sys.stdout.isatty():
        for line in picture(gateway):
            click.echo(line)
        return
    click.echo(_ENTER, nl=False)
    try:
        while True:
            lines = list(picture(gateway))[: shutil.get_terminal_size().lines - 1]
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
