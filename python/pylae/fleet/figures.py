"""What a node has answered: figures that nodes report, and by which a roll-out is judged."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

MOST_BUCKETS = 512
"""Buckets of durations: more than there are between the shortest and the longest one."""
_GROWTH = math.log(1.05)
"""How much longer a bucket of durations is than the one before: what is read from them is right to some per cent."""
_SHORTEST, _LONGEST = 10e-6, 3600.0
"""Seconds. Durations beyond count as these."""
_AT_ONCE = 256
"""Most exchanges of a worker that are read at once, also while somebody watches them all."""
_ALL = 1024
"""Exchanges that a worker keeps."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Exchanges that are over. Those of a span of time are the difference of two readings."""

    requests: int = 0
    """Those that were answered with 2xx to 5xx."""
    errors: int = 0
    """Those that were answered with 5xx, by an instance or by the gateway."""
    durations: Mapping[int, int] = field(default_factory=dict)
    """How many of those that were looked at took how long: their numbers by bucket."""

    def __add__(self, other: Figures) -> Figures:
        durations = Counter(self.durations)
        durations.update(other.durations)
        return Figures(self.requests + other.requests, self.errors + other.errors, durations)

    def __sub__(self, before: Figures) -> Figures:
        # `Counter` leaves out what is not positive.
        durations = Counter(self.durations) - Counter(before.durations)
        return Figures(max(0, self.requests - before.requests), max(0, self.errors - before.errors), dict(durations))

    @property
    def error_rate(self) -> float:
        """The share of errors, from 0 to 1; 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def timed(self) -> int:
        """How many durations there are."""
        return sum(self.durations.values())

    @property
    def p99(self) -> float | None:
        """The duration in seconds that 99 % do not exceed; None without durations."""
        left = math.ceil(self.timed * 0.99)
        for bucket in sorted(self.durations):
            left -= self.durations[bucket]
            if left <= 0:
                return math.exp((bucket + 0.5) * _GROWTH) * _SHORTEST
        return None

    def longer_than(self, seconds: float) -> int:
        """Returns how many durations exceed this one, as far as buckets tell."""
        limit = bucket_of(seconds)
        return sum(count for bucket, count in self.durations.items() if bucket > limit)

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON would have it."""
        durations = {str(bucket): count for bucket, count in sorted(self.durations.items())}
        return {"requests": self.requests, "errors": self.errors, "durations": durations}

    @classmethod
    def of(cls, value: Any) -> Figures:
        """Reads what `as_dict` has made. Raises ValueError if it is not that."""
        found = value["durations"] if isinstance(value, dict) and isinstance(value.get("durations"), dict) else None
        if found is None or len(found) > MOST_BUCKETS:
            raise ValueError("figures are a mapping with `requests`, `errors` and `durations`")
        durations = {_count(int(bucket), MOST_BUCKETS): _count(count) for bucket, count in found.items()}
        return cls(_count(value.get("requests")), _count(value.get("errors")), durations)


def _count(value: Any, most: int = 2**63) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError("figures are whole numbers")
    return value


def bucket_of(seconds: float) -> int:
    """Returns the bucket of a duration."""
    return int(math.log(min(max(seconds, _SHORTEST), _LONGEST) / _SHORTEST) / _GROWTH)


class Measured(Protocol):
    """What a meter reads: a running engine."""

    def stats(self) -> dict[str, Any]:
        """Returns what was counted since the start."""

    def exchanges(self, cursors: list[int] = ..., most: int = ...) -> dict[str, Any]:
        """Returns the exchanges that were kept since the `cursors` of an earlier call."""


class Meter:
    """Reads the figures of this node.

    All exchanges are counted. Durations are those of the exchanges that workers keep anyway, 64 of each second, and
    they are read during a roll-out only: so it costs nothing otherwise.
    """

    def __init__(self, engine: Measured) -> None:
        self._engine = engine
        self._cursors: list[int] | None = None
        self._durations: Counter[int] = Counter()

    def read(self, *, durations: bool) -> Figures:
        """Returns the figures since the start. Durations are those since the first call that asked for them.

        Raises EngineError.
        """
        if durations:
            found = self._engine.exchanges(self._cursors or [], 0 if self._cursors is None else _AT_ONCE)
            if self._cursors is not None:
                self._durations.update(_durations(found["exchanges"]))
            self._cursors = found["cursors"]
        else:
            self._cursors = None
        counted = self.counted()
        return Figures(counted.requests, counted.errors, dict(self._durations))

    def counted(self) -> Figures:
        """Returns the figures since the start, without durations. Raises EngineError."""
        by_class = self._engine.stats()["totals"]["by_class"]
        return Figures(sum(by_class[1:]), by_class[4])

    def lately(self, window: float) -> Figures:
        """Returns the figures of the last `window` seconds, by the exchanges that are still kept. Raises EngineError.

        They are a sample: what they say of the number of requests is too low on a busy node.
        """
        since = datetime.now(UTC) - timedelta(seconds=window)
        kept = self._engine.exchanges([], _ALL)["exchanges"]
        found = [one for one in kept if datetime.fromisoformat(one["timestamp"]) >= since]
        answered = [one for one in found if one["status"] >= 200 and one["status"] != 499]
        errors = sum(one["status"] >= 500 for one in answered)
        return Figures(len(answered), errors, Counter(_durations(found)))


def _durations(exchanges: Iterable[Mapping[str, Any]]) -> Iterable[int]:
    """The buckets of those that have a duration to compare: WebSockets last as long as their clients want."""
    return (bucket_of(one["duration"]) for one in exchanges if one["status"] >= 200)
