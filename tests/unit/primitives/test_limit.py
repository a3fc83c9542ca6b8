"""Limiters against models that are slow and obviously right."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylae.primitives import Decision, SlidingWindow, TokenBucket

MICROSECOND = 1000


@dataclass
class Clock:
    """A clock that shows what it is told."""

    now: int = 0

    def __call__(self) -> int:
        return self.now


@dataclass
class BucketModel:
    """Counts tokens as fractions, forward in time only."""

    limit: int
    per: int
    capacity: int
    tokens: Fraction = Fraction(0)
    latest: int = 0

    def __post_init__(self) -> None:
        self.tokens = Fraction(self.capacity)
        self.rate = Fraction(self.limit, self.per)

    def take(self, now: int, cost: int) -> Decision:
        then = max(self.latest, now)
        self.tokens = min(Fraction(self.capacity), self.tokens + self.rate * (then - self.latest))
        self.latest = then
        admitted = cost <= self.tokens
        wait: int | None = 0
        if admitted:
            self.tokens -= cost
        else:
            wait = then + math.ceil((cost - self.tokens) / self.rate) - now if cost <= self.capacity else None
        reset = then + math.ceil((self.capacity - self.tokens) / self.rate) - now
        return Decision(admitted, math.floor(self.tokens), wait, reset)


@dataclass
class WindowModel:
    """Remembers every admission."""

    limit: int
    per: int
    admitted: list[tuple[int, int]] = field(default_factory=list)
    latest: int = 0

    def take(self, now: int, cost: int) -> Decision:
        self.latest = max(self.latest, now)
        held = [(at, cost) for at, cost in self.admitted if self.latest - at < self.per]
        room = self.limit - sum(cost for _, cost in held)
        if cost <= room:
            if cost:
                held.append((self.latest, cost))
                self.admitted.append((self.latest, cost))
            wait: int | None = 0
        else:
            free, wait = room, None
            for at, gone in held:
                free += gone
                if free >= cost:
                    wait = at + self.per - now
                    break
        last = max((at for at, _ in held), default=None)
        reset = self.latest - now if last is None else last + self.per - now
        return Decision(cost <= room, self.limit - sum(cost for _, cost in held), wait, reset)


periods = st.integers(1, 50) | st.integers(1, 10**6)
steps = st.lists(
    st.tuples(st.one_of(st.just(0), st.integers(0, 20_000), st.integers(-30_000, 200_000)), st.integers(0, 6)),
    max_size=60,
)


@given(limit=st.integers(1, 40), per=periods, burst=st.none() | st.integers(1, 40), steps=steps)
@settings(max_examples=300, deadline=None)
def test_token_bucket(limit: int, per: int, burst: int | None, steps: list[tuple[int, int]]) -> None:
    clock = Clock(10**9)
    bucket = TokenBucket(limit, timedelta(microseconds=per), burst, clock=clock)
    model = BucketModel(limit, per * MICROSECOND, burst or limit)
    for step, cost in steps:
        clock.now = max(0, clock.now + step)
        assert bucket.take(cost) == model.take(clock.now, cost)


@given(limit=st.integers(1, 12), per=periods, steps=steps)
@settings(max_examples=300, deadline=None)
def test_sliding_window(limit: int, per: int, steps: list[tuple[int, int]]) -> None:
    clock = Clock(10**9)
    window = SlidingWindow(limit, timedelta(microseconds=per), clock=clock)
    model = WindowModel(limit, per * MICROSECOND)
    for step, cost in steps:
        clock.now = max(0, clock.now + step)
        assert window.take(cost) == model.take(clock.now, cost)
    for start, _ in model.admitted:
        # A window that holds most begins with an admission.
        inside = sum(cost for at, cost in model.admitted if start <= at < start + per * MICROSECOND)
        assert inside <= limit


@given(limit=st.integers(1, 40), per=periods, burst=st.none() | st.integers(1, 40), steps=steps, cost=st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_waiting_is_enough_and_not_too_long(
    limit: int, per: int, burst: int | None, steps: list[tuple[int, int]], cost: int
) -> None:
    clock = Clock(10**9)
    span = timedelta(microseconds=per)
    for limiter in (TokenBucket(limit, span, burst, clock=clock), SlidingWindow(limit, span, clock=clock)):
        for step, other in steps:
            clock.now = max(0, clock.now + step)
            limiter.take(other)
        decision = limiter.take(cost)
        if decision.retry_after_ns:
            asked = clock.now
            clock.now = asked + decision.retry_after_ns - 1
            assert not limiter.take(cost)
            clock.now = asked + decision.retry_after_ns
            assert limiter.take(cost)


def test_real_time() -> None:
    bucket = TokenBucket(2, "1h")
    first, second, third = bucket.take(), bucket.take(), bucket.take()
    assert (bool(first), first.remaining, first.retry_after) == (True, 1, 0.0)
    assert second
    assert not third
    assert third.retry_after is not None
    assert 1790 < third.retry_after <= 1800
    assert 3590 < third.reset <= 3600
    assert bucket.take(3).retry_after is None


@pytest.mark.parametrize("limiter", [TokenBucket(1000, "30d"), SlidingWindow(1000, "30d")])
def test_threads_share_it(limiter: TokenBucket | SlidingWindow) -> None:
    admitted: list[int] = []

    def work() -> None:
        admitted.append(sum(bool(limiter.take()) for _ in range(500)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 1000


@pytest.mark.parametrize(
    ("limit", "per", "burst"), [(0, 1, None), (1, 0, None), (1, 1, 0), (-1, 1, None), (2**32, 1, None), (1, "1y", None)]
)
def test_figures_that_make_no_limit(limit: int, per: float | str, burst: int | None) -> None:
    with pytest.raises(ValueError, match=r"."):
        TokenBucket(limit, per, burst)
    if burst is None:
        with pytest.raises(ValueError, match=r"."):
            SlidingWindow(limit, per)


def test_a_cost_is_a_number() -> None:
    with pytest.raises(ValueError, match="from 0"):
        TokenBucket(1, 1).take(-1)
    with pytest.raises(TypeError):
        TokenBucket(1, 1).take("1")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [TokenBucket, SlidingWindow])
def test_an_estimate_is_settled(kind: type[TokenBucket | SlidingWindow]) -> None:
    clock = Clock()
    budget = kind(100, "1m", clock=clock)
    reserved = [budget.reserve(40), budget.reserve(40)]
    assert all(reserved) and [one.decision.remaining for one in reserved] == [60, 20]
    refused = budget.reserve(40)
    assert not refused
    with pytest.raises(ValueError, match="nothing was reserved"):
        refused.settle(1)
    reserved[1].settle(5)
    assert budget.take(0).remaining == 55
    for cost in (5, 0):
        with pytest.raises(ValueError, match="settled already"):
            reserved[1].settle(cost)
    with pytest.raises(ValueError, match="whole number"):
        reserved[0].settle(-1)
    reserved[0].settle(10**12)
    assert budget.take(0).remaining == 0
    # One limit of debt, whatever it was.
    clock.now = 60 * 1_000_000_000
    assert budget.take(0).remaining <= 100
    clock.now *= 3
    assert budget.take(0).remaining == 100


@pytest.mark.parametrize("kind", [TokenBucket, SlidingWindow])
def test_an_estimate_that_nobody_settles_stays(kind: type[TokenBucket | SlidingWindow]) -> None:
    budget = kind(100, "1m", clock=Clock())
    budget.reserve(40)
    with_truth = budget.reserve(40)
    with_truth.settle(0)
    assert budget.take(0).remaining == 60
