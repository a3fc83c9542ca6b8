"""Limiters: `TokenBucket` and `SlidingWindow`.

A clock that stands still or jumps back never admits more: time goes on once it has caught up.
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
    """Whether a cost was taken; true if it was."""

    admitted: bool
    remaining: int
    """What could still be taken at once."""
    retry_after_ns: int | None
    """Nanoseconds after which the same cost is admitted if nobody else takes any: 0 if it was, None for never."""
    reset_ns: int
    """Nanoseconds until the whole allowance is there again if nothing more is taken."""

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

    Exact: decisions are those of a bucket that counts tokens as fractions (ITU-T I.371, generic cell rate algorithm).
    `per` is seconds, a text such as "1m", or a `timedelta`. Raises ValueError for figures that make no limit.
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
        """Takes `cost` tokens, or none. A cost of 0 only looks. Raises ValueError for a negative cost."""
        return Decision(*self._native.check(now(self._clock), count(cost)))


class SlidingWindow:
    """At most `limit` in any window of length `per`, wherever it starts.

    Exact for up to 4096 admissions at different times in a window; beyond that it may admit up to `per / 2048` late.
    `per` is seconds, a text such as "1m", or a `timedelta`. Raises ValueError for figures that make no limit.
    """

    def __init__(self, limit: int, per: DurationLike, *, clock: Clock = time.monotonic_ns) -> None:
        self._native = NativeSlidingWindow(count(limit), nanoseconds(per))
        self._clock = clock

    def take(self, cost: int = 1) -> Decision:
        """Takes `cost`, or nothing. A cost of 0 only looks. Raises ValueError for a negative cost."""
        return Decision(*self._native.check(now(self._clock), count(cost)))
