"""What the metrics say of hook hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

REASONS = {
    "crashed": "has ended",
    "hung": "does not answer",
    "stuck": "has calls that do not return",
    "memory": "takes too much memory",
    "requests": "has had its share of calls",
    "mad": "has written what it cannot mean",
    "lanes": "has no room for another worker",
}
"""Why hosts are replaced: labels of the metric, and what the log says."""


class PlaceFigures(NamedTuple):
    """The figures of the hook hosts of one place."""

    calls_total: int
    calls_in_flight: int
    memory_bytes: int
    ready: bool


_FAMILIES = (
    ("calls_total", "counter", "Calls that hook hosts were given."),
    ("calls_in_flight", "gauge", "Calls that they have not answered."),
    ("memory_bytes", "gauge", "Resident memory of hook hosts."),
    ("ready", "gauge", "Whether a hook host takes calls."),
)


def page(figures: Sequence[PlaceFigures], restarts: Mapping[str, int]) -> str:
    """The figures of all hook hosts (text format 0.0.4). `restarts` are counted by reason."""
    return "".join(f"{line}\n" for line in _lines(figures, restarts))


def _lines(figures: Sequence[PlaceFigures], restarts: Mapping[str, int]) -> Iterator[str]:
    for name, kind, text in _FAMILIES:
        full = f"pylae_hook_host_{name}"
        yield from (f"# HELP {full} {text}", f"# TYPE {full} {kind}")
        yield from (f'{full}{{host="{index}"}} {int(getattr(one, name))}' for index, one in enumerate(figures))
    name = "pylae_hook_host_restarts_total"
    yield from (f"# HELP {name} Hook hosts that were replaced, by reason.", f"# TYPE {name} counter")
    yield from (f'{name}{{reason="{reason}"}} {restarts.get(reason, 0)}' for reason in REASONS)
