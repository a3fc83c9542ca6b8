"""Limiters: `TokenBucket` and `SlidingWindow`.

If the clock stands still or jumps back, they never admit more: time continues once the clock has caught up.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pylae.engine import NativeSlidingWindow, NativeTokenBucket
from pylae.primitives.given import Clock, count, nanoseconds, now
from pylae.units import DurationLike

__all__ = ["Decision", "SlidingWindow", "TokenBucket"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of a limiter. It is true if the cost was taken."""

    admitted: bool
    remaining: int
    """How much may still be taken now."""
    retry_after_ns: int | None
    """Nanoseconds until the same cost is admitted if nothing else is taken: 0 if it was admitted, None for never."""
    reset_ns: int
    """Nanoseconds until the whole limit is available again if nothing more is taken."""

    def __bool__(self) -> bool:
        return self.admitted

    @property
    def retry_after(self) -> float | None:
        """`retry_after_ns` in seconds."""
        return None if self.retry_after_ns is None else self.retry_after_ns / 1e9

    @property
    def reset(self) -> float:
        """`reset_ns` in seconds."""
        return self.reset_ns / 1e9


class TokenBucket:
    """A bucket of `burst` (or else `limit`) tokens, full at first, refilled continuously at `limit` per `per`.

    Decisions are exact, as if tokens were counted in fractions (generic cell rate algorithm, ITU-T I.371). `per` is
    seconds, a text such as "1m", or a `timedelta`. Raises ValueError for an invalid limit.
    """

    def __init__(
        self,
        limit: int,
        per: DurationLike,
        burst: int | None = None,
        *,
        clock: Clock = time.monotonic_ns,
    ) -> None:
        self._native = NativeTokenBucket(count(limit), nanoseconds(per), None if burst is None else count(burst))
        self._clock = clock

    def take(self, cost: int = 1) -> Decision:
        """Takes `cost` tokens, or none if there are not enough. A cost of 0 only looks. Raises ValueError for a
        negative cost.
        """
        return Decision(*self._native.check(now(self._clock), count(cost)))


class SlidingWindow:
    """Allows at most `limit` in any span of length `per`.

    Exact for up to 4096 admissions at different times in a span; beyond that it may admit up to `per / 2048` late.
    `per` is seconds, a text such as "1m", or a `timedelta`. Raises ValueError for an invalid limit.
    """

    def __init__(self, limit: int, per: DurationLike, *, clock: Clock = time.monotonic_ns) -> None:
        self._native = NativeSlidingWindow(count(limit), nanoseconds(per))
        self._clock = clock

    def take(self, cost: int = 1) -> Decision:
        """Takes `cost`, or nothing if there is not enough. A cost of 0 only looks. Raises ValueError for a negative
        cost.
        """
        return Decision(*self._native.check(now(self._clock), count(cost)))
