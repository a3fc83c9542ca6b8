"""Rate limiters: so many requests a minute for each of many clients."""

from __future__ import annotations

import time
from typing import ClassVar

from pylae.engine import NativeKeyedLimiter
from pylae.primitives.given import Clock, count, now
from pylae.primitives.limit import Decision

__all__ = ["RateLimiter", "SlidingWindowRateLimiter"]

_MINUTE = 60_000_000_000


class RateLimiter:
    """A token bucket for each client: so many requests a minute, of which all may come at once.

    The buckets are in the table that the gateway has for its own limits. It holds `max_clients` at most, 48 bytes each:
    full buckets go first, and a flood of invented clients pushes out nobody who has been here twice.
    `requests_per_minute` is for calls that do not say their own. Raises ValueError for figures that make no limit.

        limiter = RateLimiter(100)
        if not await limiter.is_allowed("user:7"):
            raise HTTPError(429)
    """

    _sliding: ClassVar[bool] = False

    def __init__(
        self, requests_per_minute: int = 60, *, max_clients: int = 100_000, clock: Clock = time.monotonic_ns
    ) -> None:
        if max_clients < 1:
            raise ValueError("max_clients must be at least 1")
        self._native = NativeKeyedLimiter(self._sliding, count(max_clients))
        self._clock, self._usual = clock, requests_per_minute
        # Figures that make no limit are found here, not at the first request.
        self.take("", cost=0)

    async def is_allowed(self, client_id: str, requests_per_minute: int | None = None) -> bool:
        """Whether one more request of a client is allowed; then it is counted, a refused one is not.

        A client has one allowance: another figure in a later call takes over the share of it that is used. It never
        waits; `take` is the same for code that is not async. Raises ValueError for a figure that makes no limit.
        """
        return self.take(client_id, requests_per_minute).admitted

    def take(self, client_id: str, requests_per_minute: int | None = None, cost: int = 1) -> Decision:
        """The same as a `Decision`: true if it is allowed, it says when to ask again; a cost of 0 only looks."""
        limit = self._usual if requests_per_minute is None else requests_per_minute
        key = client_id.encode("utf-8", "surrogatepass")
        return Decision(*self._native.check(key, count(limit), _MINUTE, now(self._clock), count(cost)))

    def __len__(self) -> int:
        """Clients that are held, those included that have used nothing for a minute."""
        return self._native.keys()


class SlidingWindowRateLimiter(RateLimiter):
    """A sliding window for each client: in no minute, wherever it starts, are more requests allowed.

    What is said of `RateLimiter` holds. A window has a log of its requests too; all logs together have 64 bytes for
    each of `max_clients`, beyond which they grow coarser on the side of refusing.
    """

    _sliding = True
