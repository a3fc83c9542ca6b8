"""Where a limiter counts: in this process, or in a store."""

from __future__ import annotations

import time
from typing import Any, Literal, Protocol

from pylae.engine import NativeReservation, NativeStore, NativeStoreLimit
from pylae.primitives.decision import Decision, Reservation
from pylae.primitives.given import Clock, count, now
from pylae.primitives.store import CounterStore, client_of

CheckResult = tuple[bool, int, int | None, int]
"""The figures of a `Decision`, as the engine returns them."""

LimitMode = Literal["fast", "exact"]
"""How several processes count together."""


class NativeLimiter(Protocol):
    """A limiter of the engine that counts in this process. It is asked with its figures, the time and the cost."""

    def check(self, *asked: Any) -> CheckResult: ...

    def reserve(self, *asked: Any) -> tuple[CheckResult, NativeReservation]: ...


class Counter(Protocol):
    """Counts a limit. `figures` are what the engine is asked with."""

    def take(self, figures: tuple[Any, ...], cost: int) -> Decision: ...

    async def take_async(self, figures: tuple[Any, ...], cost: int) -> Decision: ...

    def reserve(self, figures: tuple[Any, ...], cost: int) -> Reservation: ...

    async def reserve_async(self, figures: tuple[Any, ...], cost: int) -> Reservation: ...


class OwnCounter:
    """Counts in this process, by a clock."""

    def __init__(self, native: NativeLimiter, clock: Clock) -> None:
        self._native, self._clock = native, clock

    def take(self, figures: tuple[Any, ...], cost: int) -> Decision:
        return Decision(*self._native.check(*figures, now(self._clock), count(cost)))

    async def take_async(self, figures: tuple[Any, ...], cost: int) -> Decision:
        return self.take(figures, cost)

    def reserve(self, figures: tuple[Any, ...], cost: int) -> Reservation:
        decision, reserved = self._native.reserve(*figures, now(self._clock), count(cost))
        return Reservation(Decision(*decision), reserved, self._clock)

    async def reserve_async(self, figures: tuple[Any, ...], cost: int) -> Reservation:
        return self.reserve(figures, cost)


class StoreCounter:
    """Counts in a store."""

    def __init__(self, store: CounterStore, identity: str, mode: LimitMode, *, sliding: bool) -> None:
        self._client, self._limit = client_of(store), (identity, sliding, mode == "exact")
        self._bound: tuple[NativeStore, NativeStoreLimit] | None = None

    def take(self, figures: tuple[Any, ...], cost: int) -> Decision:
        asked = self._of(self._client.started()).check(figures[0], figures[1], count(cost))
        return Decision(*(asked if isinstance(asked, tuple) else self._client.wait(asked)[0]))

    async def take_async(self, figures: tuple[Any, ...], cost: int) -> Decision:
        asked = self._of(await self._client.started_async()).check(figures[0], figures[1], count(cost))
        return Decision(*(asked if isinstance(asked, tuple) else (await self._client.wait_async(asked))[0]))

    def reserve(self, figures: tuple[Any, ...], cost: int) -> Reservation:
        asked = self._of(self._client.started()).reserve(figures[0], figures[1], count(cost))
        return _reservation(*(asked if isinstance(asked, tuple) else self._client.wait(asked)))

    async def reserve_async(self, figures: tuple[Any, ...], cost: int) -> Reservation:
        asked = self._of(await self._client.started_async()).reserve(figures[0], figures[1], count(cost))
        return _reservation(*(asked if isinstance(asked, tuple) else await self._client.wait_async(asked)))

    def keys(self) -> int:
        """Number of keys of all limits of the store that this process knows."""
        return self._client.keys()

    def _of(self, started: NativeStore) -> NativeStoreLimit:
        # A forked process has another one than that of its parent.
        bound = self._bound
        if bound is None or bound[0] is not started:
            bound = self._bound = started, NativeStoreLimit(started, *self._limit)
        return bound[1]


def _reservation(decision: CheckResult, reserved: NativeReservation) -> Reservation:
    # It is settled by the time of the store.
    return Reservation(Decision(*decision), reserved, time.monotonic_ns)


def store_counter(
    kind: str, store: CounterStore | None, name: str | None, mode: LimitMode | None, clock: Clock
) -> StoreCounter | None:
    """Returns what counts a limit in a store, or None without one. Raises ValueError if the arguments do not fit.

    `kind` is the kind of limiter. Different kinds of the same name count apart.
    """
    if store is None:
        if name is not None or mode is not None:
            raise ValueError("`name` and `mode` are for limits in a store: pass `store` too")
        return None
    if not name:
        raise ValueError('a limit in a store needs a name, by which other processes find it, e.g. name="orders"')
    if mode not in (None, "fast", "exact"):
        raise ValueError(f'`mode` must be "fast" or "exact", not {mode!r}')
    if clock is not time.monotonic_ns:
        raise ValueError("`clock` has no effect on a limit in a store: the clock of the store counts")
    return StoreCounter(store, f"{kind}:{name}", mode or "fast", sliding=kind.startswith("sliding"))
