"""Limiters: `TokenBucket` and `SlidingWindow`.

If the clock stands still or jumps back, they never admit more: time continues once the clock has caught up.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pylae.engine import NativeReservation, NativeSlidingWindow, NativeTokenBucket
from pylae.primitives.given import MOST, Clock, count, nanoseconds, now
from pylae.units import DurationLike

__all__ = ["Decision", "Reservation", "SlidingWindow", "TokenBucket"]


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


class Reservation:
    """A cost that was only estimated. It is true if the estimate was taken; `settle` then corrects it."""

    def __init__(self, decision: Decision, native: NativeReservation, clock: Clock) -> None:
        self.decision = decision
        """What the limiter has decided on the estimate."""
        self._native, self._clock = native, clock

    def __bool__(self) -> bool:
        return self.decision.admitted

    def settle(self, cost: int) -> None:
        """Replaces the estimate by the true cost. A reservation that is dropped without it keeps its estimate.

        If the estimate was too high, the rest comes back, as far as it still counts: not into a window that has passed,
        and not what a bucket has refilled since. If it was too low, the rest is debt, at most one limit. Raises
        ValueError for a negative cost, if the estimate was refused, and if the reservation is settled already.
        """
        if not self:
            raise ValueError("nothing was reserved: the limiter has refused the estimate")
        if not self._native.settle(now(self._clock), count(min(cost, MOST))):
            raise ValueError("the reservation is settled already")


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

    def reserve(self, cost: int) -> Reservation:
        """Takes an estimated cost, as `take` does. The true cost is settled once it is known. Raises ValueError for a
        negative cost.
        """
        decision, reserved = self._native.reserve(now(self._clock), count(cost))
        return Reservation(Decision(*decision), reserved, self._clock)


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

    def reserve(self, cost: int) -> Reservation:
        """Takes an estimated cost, as `take` does. The true cost is settled once it is known. Raises ValueError for a
        negative cost.
        """
        decision, reserved = self._native.reserve(now(self._clock), count(cost))
        return Reservation(Decision(*decision), reserved, self._clock)
