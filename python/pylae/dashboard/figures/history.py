"""The last hour of all gateways together, and what it was like before and after each change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from pylae.dashboard.nodes import Node
from pylae.dashboard.shown import moment

_AROUND = 300.0
"""Seconds before and after a change that are compared."""
_SETTLED = 10.0
"""Seconds after a change that are left out."""


@dataclass(slots=True)
class Hour:
    """Figures at certain times; None where there were no requests.

    Attributes:
        times: Times in seconds since 1970.
        rates: Requests per second.
        errors: 5xx per second.
        p50: Median duration in seconds, the longest of all gateways.
        p99: Duration that 99 % did not exceed, likewise.
    """

    times: list[float] = field(default_factory=list)
    rates: list[float | None] = field(default_factory=list)
    errors: list[float | None] = field(default_factory=list)
    p50: list[float | None] = field(default_factory=list)
    p99: list[float | None] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Effect:
    """What it was like before and after a change: the typical p99 in seconds, and the share of 5xx."""

    p99: tuple[float | None, float | None]
    errors: tuple[float | None, float | None]

    @property
    def worse(self) -> bool:
        """Whether it got clearly slower, or failed more often."""
        slow = None not in self.p99 and (self.p99[1] or 0) > 1.5 * (self.p99[0] or 0) + 0.001
        return slow or (self.errors[1] or 0) > (self.errors[0] or 0) + 0.01


def hour(nodes: Sequence[Node], service: str | None = None, topic: str = "timeline") -> Hour:
    """The last hour of these gateways, by their `topic`, a timeline; with a name, of this service."""
    found: dict[int, list[tuple[float, Mapping[str, float | None]]]] = {}
    interval = 5.0
    for node in nodes:
        timeline = node.value(topic)
        series = timeline and (timeline["gateway"] if service is None else timeline["services"].get(service))
        if not series:
            continue
        interval = timeline["interval"]
        for index, at in enumerate(timeline["times"]):
            values = {name: series[name][index] for name in ("requests", "errors", "p50", "p99")}
            found.setdefault(round(at / interval), []).append((at, values))
    told = Hour()
    for slot in sorted(found):
        # Not the slot's own time: what was read before a change would seem to come after it, or the reverse.
        told.times.append(max(at for at, _ in found[slot]))
        told.rates.append(_sum(found[slot], "requests", interval))
        told.errors.append(_sum(found[slot], "errors", interval))
        told.p50.append(_most(found[slot], "p50"))
        told.p99.append(_most(found[slot], "p99"))
    return told


def _sum(values: Sequence[tuple[float, Mapping[str, float | None]]], name: str, interval: float) -> float | None:
    known = [one[name] for _, one in values if one[name] is not None]
    return sum(value or 0 for value in known) / interval if known else None


def _most(values: Sequence[tuple[float, Mapping[str, float | None]]], name: str) -> float | None:
    return max((value for _, one in values if (value := one[name]) is not None), default=None)


def changes(nodes: Sequence[Node]) -> list[tuple[Node, dict[str, Any], float]]:
    """What was put in force, the latest first, each with its gateway and time. Of gateways that share a history, the
    first one's.
    """
    found, known = [], set()
    for node in nodes:
        for entry in (node.value("history") or {}).get("entries", []):
            at = moment(entry.get("at"))
            # Nodes of a fleet have one history.
            key = (entry.get("number"), entry.get("at"), entry.get("digest"))
            if at is not None and key not in known:
                known.add(key)
                found.append((node, entry, at))
    return sorted(found, key=lambda one: -one[2])


def effect(told: Hour, at: float) -> Effect:
    """Compares the minutes before and after a time."""
    before = [index for index, time in enumerate(told.times) if at - _AROUND <= time < at]
    after = [index for index, time in enumerate(told.times) if at + _SETTLED <= time <= at + _AROUND]
    return Effect(
        (_typical(told.p99, before), _typical(told.p99, after)), (_failed(told, before), _failed(told, after))
    )


def _typical(values: Sequence[float | None], indexes: Sequence[int]) -> float | None:
    known = [value for index in indexes if (value := values[index]) is not None]
    return median(known) if known else None


def _failed(told: Hour, indexes: Sequence[int]) -> float | None:
    requests = sum(told.rates[index] or 0 for index in indexes)
    return sum(told.errors[index] or 0 for index in indexes) / requests if requests else None
