"""Rate limiters: requests per minute for each of many clients."""

from __future__ import annotations

import time
from typing import ClassVar

from pylae.engine import NativeKeyedLimiter
from pylae.primitives.given import Clock, count, now
from pylae.primitives.limit import Decision, Reservation

__all__ = ["RateLimiter", "SlidingWindowRateLimiter"]

_MINUTE = 60_000_000_000


class RateLimiter:
    """A token bucket for each client: a number of requests per minute, which may all come at once.

    The buckets are in a table like that of the gateway, with 48 bytes for each of at most `max_clients` clients. If it
    is full, it removes full buckets first, then clients that came only once. So invented clients do not displace those
    that came twice. `requests_per_minute` is the default for calls without their own limit. Raises ValueError for an
    invalid limit.

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
        # Report an invalid limit here and not at the first request.
        self.take("", cost=0)

    async def is_allowed(self, client_id: str, requests_per_minute: int | None = None) -> bool:
        """Returns whether a client may make another request, and counts it if so.

        Each client has one allowance. If a later call gives a different limit, the used share stays the same. It never
        waits; `take` is the same for code that is not async. Raises ValueError for an invalid limit.
        """
        return self.take(client_id, requests_per_minute).admitted

    def take(self, client_id: str, requests_per_minute: int | None = None, cost: int = 1) -> Decision:
        """The same as `is_allowed`, but returns a `Decision`, which also says when to try again. A cost of 0 only
        looks.
        """
        limit = self._usual if requests_per_minute is None else requests_per_minute
        key = client_id.encode("utf-8", "surrogatepass")
        return Decision(*self._native.check(key, count(limit), _MINUTE, now(self._clock), count(cost)))

    def reserve(self, client_id: str, requests_per_minute: int | None = None, *, cost: int) -> Reservation:
        """Takes an estimated cost, as `take` does. The true cost is settled once it is known:

            reserved = tokens.reserve("user:7", cost=2000)
            if reserved:
                answer = await model.ask(question)
                reserved.settle(answer.tokens)

        From the first call on, each client takes 40 bytes more. Raises ValueError for an invalid limit and a negative
        cost.
        """
        limit = self._usual if requests_per_minute is None else requests_per_minute
        key = client_id.encode("utf-8", "surrogatepass")
        decision, reserved = self._native.reserve(key, count(limit), _MINUTE, now(self._clock), count(cost))
        return Reservation(Decision(*decision), reserved, self._clock)

    def __len__(self) -> int:
        """Number of clients in memory, including those that have been idle for a minute."""
        return self._native.keys()


class SlidingWindowRateLimiter(RateLimiter):
    """A sliding window for each client: no minute, wherever it starts, has more requests than allowed.

    Otherwise it is like `RateLimiter`. Each window also keeps a log of its requests. All logs together have 64 bytes
    for each of `max_clients`; beyond that they become coarser, which may refuse requests early but never admits too
    many.
    """

    _sliding = True
