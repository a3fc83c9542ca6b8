"""Limiters: `TokenBucket` and `SlidingWindow`.

If the clock stands still or jumps back, they never admit more: time continues once the clock has caught up.
"""

from __future__ import annotations

import time
from typing import Any

from pylae.engine import NativeSlidingWindow, NativeTokenBucket
from pylae.primitives.counter import Counter, LimitMode, OwnCounter, store_counter
from pylae.primitives.decision import Decision, Reservation
from pylae.primitives.given import Clock, count, nanoseconds
from pylae.primitives.store import CounterStore
from pylae.units import DurationLike

__all__ = ["SlidingWindow", "TokenBucket"]


class _Limiter:
    """One limit, wherever it is counted."""

    _counter: Counter
    _figures: tuple[Any, ...] = ()

    def take(self, cost: int = 1) -> Decision:
        """Takes `cost`, or nothing if there is not enough. A cost of 0 only looks. Raises ValueError for a negative
        cost.

        With a store, it waits for an answer if the limit is near; `take_async` does not block an event loop meanwhile.
        """
        return self._counter.take(self._figures, cost)

    async def take_async(self, cost: int = 1) -> Decision:
        """The same as `take`, for asyncio."""
        return await self._counter.take_async(self._figures, cost)

    def reserve(self, cost: int) -> Reservation:
        """Takes an estimated cost, as `take` does. The true cost is settled once it is known. Raises ValueError for a
        negative cost.
        """
        return self._counter.reserve(self._figures, cost)

    async def reserve_async(self, cost: int) -> Reservation:
        """The same as `reserve`, for asyncio."""
        return await self._counter.reserve_async(self._figures, cost)


class TokenBucket(_Limiter):
    """A bucket of `burst` (or else `limit`) tokens, full at first, refilled continuously at `limit` per `per`.

    Decisions are exact, as if tokens were counted in fractions (generic cell rate algorithm, ITU-T I.371). `per` is
    seconds, a text such as "1m", or a `timedelta`. Raises ValueError for an invalid limit.

    Args:
        store: Counts the limit in a store, together with all processes whose limits have this `name`.
        mode: How they count together: "fast" (the default) or "exact".
    """

    def __init__(
        self,
        limit: int,
        per: DurationLike,
        burst: int | None = None,
        *,
        clock: Clock = time.monotonic_ns,
        store: CounterStore | None = None,
        name: str | None = None,
        mode: LimitMode | None = None,
    ) -> None:
        figures = count(limit), nanoseconds(per), None if burst is None else count(burst)
        own = NativeTokenBucket(*figures)
        shared = store_counter("token_bucket", store, name, mode, clock)
        self._counter = shared or OwnCounter(own, clock)
        if shared:
            self._figures = b"", figures


class SlidingWindow(_Limiter):
    """Allows at most `limit` in any span of length `per`.

    Exact for up to 4096 admissions at different times in a span; beyond that it may admit up to `per / 2048` late.
    `per` is seconds, a text such as "1m", or a `timedelta`. Raises ValueError for an invalid limit.

    Args:
        store: Counts the limit in a store, together with all processes whose limits have this `name`.
        mode: How they count together: "fast" (the default) or "exact".
    """

    def __init__(
        self,
        limit: int,
        per: DurationLike,
        *,
        clock: Clock = time.monotonic_ns,
        store: CounterStore | None = None,
        name: str | None = None,
        mode: LimitMode | None = None,
    ) -> None:
        figures = count(limit), nanoseconds(per)
        own = NativeSlidingWindow(*figures)
        shared = store_counter("sliding_window", store, name, mode, clock)
        self._counter = shared or OwnCounter(own, clock)
        if shared:
            self._figures = b"", (*figures, None)
