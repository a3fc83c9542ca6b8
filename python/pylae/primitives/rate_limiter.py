"""Rate limiters: requests per minute for each of many clients."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from pylae.engine import NativeKeyedLimiter
from pylae.primitives.counter import LimitMode, OwnCounter, store_counter
from pylae.primitives.decision import Decision, Reservation
from pylae.primitives.given import Clock, count
from pylae.primitives.store import CounterStore

__all__ = ["RateLimiter", "SlidingWindowRateLimiter"]

_MANY = 100_000
"""How many clients a limiter knows."""
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

    With `store` and a `name`, the limiter counts in a store, together with those of this name in other processes.
    `mode` is how: "fast" (the default) or "exact".
    """

    _sliding: ClassVar[bool] = False

    def __init__(
        self,
        requests_per_minute: int = 60,
        *,
        max_clients: int = _MANY,
        clock: Clock = time.monotonic_ns,
        store: CounterStore | None = None,
        name: str | None = None,
        mode: LimitMode | None = None,
    ) -> None:
        if max_clients < 1:
            raise ValueError("max_clients must be at least 1")
        # Report an invalid limit here and not at the first request.
        NativeKeyedLimiter(self._sliding, 1).check(b"", count(requests_per_minute), _MINUTE, 0, 0)
        kind = "sliding_window_rate_limiter" if self._sliding else "rate_limiter"
        self._shared = store_counter(kind, store, name, mode, clock)
        if self._shared and max_clients != _MANY:
            raise ValueError("`max_clients` has no effect on a limit in a store: write `max_keys` at the store")
        self._native = NativeKeyedLimiter(self._sliding, 1 if self._shared else count(max_clients))
        self._counter = self._shared or OwnCounter(self._native, clock)
        self._usual = requests_per_minute

    async def is_allowed(self, client_id: str, requests_per_minute: int | None = None) -> bool:
        """Returns whether a client may make another request, and counts it if so.

        Each client has one allowance. If a later call gives a different limit, the used share stays the same. It waits
        only for a store, without blocking the event loop; `take` is the same for code that is not async. Raises
        ValueError for an invalid limit.
        """
        return (await self.take_async(client_id, requests_per_minute)).admitted

    def take(self, client_id: str, requests_per_minute: int | None = None, cost: int = 1) -> Decision:
        """The same as `is_allowed`, but returns a `Decision`, which also says when to try again. A cost of 0 only
        looks.

        With a store, it waits for an answer if the limit is near; `take_async` does not block an event loop meanwhile.
        """
        return self._counter.take(self._figures(client_id, requests_per_minute), cost)

    async def take_async(self, client_id: str, requests_per_minute: int | None = None, cost: int = 1) -> Decision:
        """The same as `take`, for asyncio."""
        return await self._counter.take_async(self._figures(client_id, requests_per_minute), cost)

    def reserve(self, client_id: str, requests_per_minute: int | None = None, *, cost: int) -> Reservation:
        """Takes an estimated cost, as `take` does. The true cost is settled once it is known:

            reserved = tokens.reserve("user:7", cost=2000)
            if reserved:
                answer = await model.ask(question)
                reserved.settle(answer.tokens)

        From the first call on, each client takes 40 bytes more. Raises ValueError for an invalid limit and a negative
        cost.
        """
        return self._counter.reserve(self._figures(client_id, requests_per_minute), cost)

    async def reserve_async(self, client_id: str, requests_per_minute: int | None = None, *, cost: int) -> Reservation:
        """The same as `reserve`, for asyncio."""
        return await self._counter.reserve_async(self._figures(client_id, requests_per_minute), cost)

    def _figures(self, client_id: str, requests_per_minute: int | None) -> tuple[Any, ...]:
        key = client_id.encode("utf-8", "surrogatepass")
        limit = count(self._usual if requests_per_minute is None else requests_per_minute)
        return (key, (limit, _MINUTE, None)) if self._shared else (key, limit, _MINUTE)

    def __len__(self) -> int:
        """Number of clients in memory, including those that have been idle for a minute. With a store, number of keys
        of all its limits that this process knows.
        """
        return self._shared.keys() if self._shared else self._native.keys()


class SlidingWindowRateLimiter(RateLimiter):
    """A sliding window for each client: no minute, wherever it starts, has more requests than allowed.

    Otherwise it is like `RateLimiter`. Each window also keeps a log of its requests. All logs together have 64 bytes
    for each of `max_clients`; beyond that they become coarser, which may refuse requests early but never admits too
    many.
    """

    _sliding = True
