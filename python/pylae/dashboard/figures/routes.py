"""Figures by route, from the metrics of a gateway: what has grown within the last minute."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

WINDOW = 60.0
"""Seconds of the window."""
_LABELS = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")
_COUNTS, _DURATIONS, _BUCKET = "pylae_requests_total", "pylae_request_duration_seconds", "_bucket"
_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
_SHORTEST = 1.0
"""Seconds between two readings below which nothing can be said."""


@dataclass(slots=True)
class Counts:
    """What a gateway has counted of a route: answers by the first digit of their status, and durations up to each
    bound.
    """

    answers: list[int]
    durations: list[int]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a gateway has counted, at a time of the monotonic clock. `bounds` are those of durations, in seconds."""

    at: float
    bounds: Sequence[float]
    routes: Mapping[str, Counts]


@dataclass(frozen=True, slots=True)
class Recent:
    """The last minute of a route.

    Attributes:
        rate: Requests per second.
        refused: Share of 4xx.
        errors: Share of 5xx.
        p50: Median duration in seconds, as far as the bounds tell.
        p99: Duration in seconds that 99 % did not exceed, likewise.
    """

    rate: float
    refused: float
    errors: float
    p50: float | None
    p99: float | None


class RouteFigures:
    """The readings of the last minute."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque(maxlen=32)

    def add(self, page: str, now: float | None = None) -> None:
        """Adds a page of metrics (text format 0.0.4)."""
        now = time.monotonic() if now is None else now
        self._readings.append(read(page, now))
        while len(self._readings) > 2 and now - self._readings[1].at >= WINDOW:
            self._readings.popleft()

    def recent(self) -> dict[str, Recent]:
        """The routes that had requests; nothing before there are two readings."""
        if len(self._readings) < 2:
            return {}
        old, new = self._readings[0], self._readings[-1]
        span = new.at - old.at
        if span < _SHORTEST:
            return {}
        return {name: found for name in new.routes if (found := _recent(old, new, name, span)) is not None}


def _recent(old: Reading, new: Reading, name: str, span: float) -> Recent | None:
    after, before = new.routes[name], old.routes.get(name)
    answers, durations = after.answers, after.durations
    # After a restart of the gateway, its counters begin anew.
    if before is not None and sum(before.answers) <= sum(answers):
        answers = [new - old for new, old in zip(answers, before.answers, strict=True)]
        if len(before.durations) == len(durations):
            durations = [new - old for new, old in zip(durations, before.durations, strict=True)]
    count = sum(answers)
    if not count:
        return None
    return Recent(
        count / span,
        answers[3] / count,
        answers[4] / count,
        _quantile(0.5, new.bounds, durations),
        _quantile(0.99, new.bounds, durations),
    )


def _quantile(share: float, bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """Interpolates within the bucket, as Prometheus does."""
    if not counts or counts[-1] <= 0:
        return None
    wanted, below, least = share * counts[-1], 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count >= wanted:
            if bound == float("inf"):
                return least
            return least + (bound - least) * ((wanted - below) / (count - below) if count > below else 1.0)
        below, least = count, bound
    return least


def read(page: str, at: float) -> Reading:
    """Reads a page of metrics."""
    routes: dict[str, Counts] = {}
    for labels, value in _samples(page, _COUNTS):
        told = dict(_LABELS.findall(labels))
        if told.get("status") in _CLASSES:
            _of(routes, told).answers[_CLASSES.index(told["status"])] += int(value)
    bounds: list[float] = []
    counts: list[int] = []
    before = None
    for labels, value in _samples(page, _DURATIONS, _BUCKET):
        # The bound is the last label, so that what is before it is the same for all buckets of a histogram.
        series, _, bound = labels.rpartition('le="')
        if series != before:
            _put(routes, before, counts)
            before, counts = series, []
        counts.append(int(value))
        if len(bounds) < len(counts):
            bounds.append(float(bound.removesuffix('"').replace("+Inf", "inf")))
    _put(routes, before, counts)
    return Reading(at, bounds, routes)


def _put(routes: dict[str, Counts], series: str | None, counts: list[int]) -> None:
    if series is None:
        return
    found = _of(routes, dict(_LABELS.findall(series)))
    # A route has a histogram for each method.
    found.durations = [a + b for a, b in zip(found.durations, counts, strict=False)] if found.durations else counts


def _of(routes: dict[str, Counts], labels: Mapping[str, str]) -> Counts:
    name = _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], labels.get("route", ""))
    found = routes.get(name)
    if found is None:
        found = routes[name] = Counts([0] * len(_CLASSES), [])
    return found


def _samples(page: str, family: str, suffix: str = "") -> Iterator[tuple[str, str]]:
    """Yields labels and value of the samples with this suffix of a family, whose samples are lines that follow each
    other.
    """
    wanted = f"{family}{suffix}{{"
    start = page.find(f"\n{wanted}") + 1
    while start and page.startswith(family, start):
        end = page.find("\n", start)
        end = len(page) if end < 0 else end
        if page.startswith(wanted, start):
            labels, _, value = page[start + len(wanted) : end].partition("} ")
            # An exemplar may follow, as in OpenMetrics.
            yield labels, value.partition(" ")[0]
        start = end + 1
