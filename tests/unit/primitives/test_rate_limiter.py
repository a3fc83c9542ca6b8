"""Limits of many clients: each has its own, as exact as one alone, and there is room for so many."""

from __future__ import annotations

import asyncio
import inspect
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylae.primitives import RateLimiter, SlidingWindow, SlidingWindowRateLimiter, TokenBucket
from pylae.testing import FakeClock

KINDS = [(RateLimiter, TokenBucket), (SlidingWindowRateLimiter, SlidingWindow)]
SECOND = 1_000_000_000


@pytest.mark.parametrize("kind", [RateLimiter, SlidingWindowRateLimiter])
def test_as_it_is_called_in_the_textbook(kind: type[RateLimiter]) -> None:
    limiter = kind(clock=FakeClock())

    async def ask() -> list[bool]:
        return [await limiter.is_allowed("ip:10.0.0.1", 3) for _ in range(5)]

    assert inspect.iscoroutinefunction(limiter.is_allowed)
    assert asyncio.run(ask()) == [True, True, True, False, False]
    assert limiter.take("ip:10.0.0.2", 3), "another client has its own"


@pytest.mark.parametrize(("kind", "single"), KINDS)
@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 5),
    steps=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40 * SECOND), st.integers(0, 2)), max_size=40),
)
def test_each_client_has_what_one_alone_has(
    kind: type[RateLimiter],
    single: type[TokenBucket | SlidingWindow],
    limit: int,
    steps: list[tuple[str, int, int]],
) -> None:
    clock = FakeClock()
    limiter = kind(limit, clock=clock)
    alone = {client: single(limit, "1m", clock=clock) for client in "abc"}
    for client, passed, cost in steps:
        clock.now += passed
        assert limiter.take(client, cost=cost).admitted == alone[client].take(cost).admitted


def test_a_bucket_fills_again_and_says_when() -> None:
    clock = FakeClock()
    limiter = RateLimiter(60, clock=clock)
    for _ in range(60):
        assert limiter.take("a")
    decision = limiter.take("a")
    assert (decision.admitted, decision.retry_after) == (False, 1.0)
    clock.advance(1)
    assert [bool(limiter.take("a")) for _ in range(2)] == [True, False]


def test_a_window_admits_no_more_wherever_it_starts() -> None:
    clock = FakeClock()
    limiter = SlidingWindowRateLimiter(2, clock=clock)
    assert [bool(limiter.take("a")) for _ in range(2)] == [True, True]
    clock.advance(59.9)
    assert not limiter.take("a")
    clock.advance(0.1)
    assert limiter.take("a")


@pytest.mark.parametrize("kind", [RateLimiter, SlidingWindowRateLimiter])
def test_other_figures_take_over_what_is_used(kind: type[RateLimiter]) -> None:
    limiter = kind(clock=FakeClock())
    for _ in range(10):
        assert limiter.take("a", 10)
    assert not limiter.take("a", 20), "all of it is used"
    assert len(limiter) == 1


@pytest.mark.parametrize("kind", [RateLimiter, SlidingWindowRateLimiter])
def test_clients_are_bounded_and_a_flood_of_them_pushes_out_nobody(kind: type[RateLimiter]) -> None:
    limiter = kind(2, max_clients=500, clock=FakeClock())
    assert [bool(limiter.take("regular")) for _ in range(3)] == [True, True, False]
    for number in range(5000):
        limiter.take(f"invented {number}")
    assert len(limiter) <= 500
    assert not limiter.take("regular")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"requests_per_minute": 0}, "limit"),
        ({"requests_per_minute": -1}, "from 0 to"),
        ({"max_clients": 0}, "max_clients"),
    ],
)
def test_figures_that_make_no_limit(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RateLimiter(**arguments)
    with pytest.raises(ValueError, match="limit"):
        RateLimiter().take("a", 0)


def test_from_several_threads() -> None:
    limiter = RateLimiter(100, clock=FakeClock())
    admitted: list[bool] = []

    def ask() -> None:
        admitted.extend(bool(limiter.take("a")) for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 100


@pytest.mark.parametrize("client", ["", "ä", "\udcff", "x" * 10_000])
def test_any_text_is_a_client(client: str) -> None:
    limiter = RateLimiter(1, clock=FakeClock())
    assert [bool(limiter.take(client)) for _ in range(2)] == [True, False]


@pytest.mark.parametrize("kind", [RateLimiter, SlidingWindowRateLimiter])
def test_each_client_reserves_and_settles(kind: type[RateLimiter]) -> None:
    limiter = kind(100, clock=FakeClock())
    assert limiter.take("a", cost=10)
    one, other = limiter.reserve("a", cost=40), limiter.reserve("b", cost=40)
    assert limiter.take("a", cost=20).remaining == 30, "what is taken is no estimate"
    one.settle(1)
    other.settle(70)
    assert [limiter.take(client, cost=0).remaining for client in "ab"] == [69, 30]
    assert not limiter.reserve("b", cost=31)
    assert limiter.reserve("b", 1000, cost=31), "the used share stays"
    with pytest.raises(TypeError):
        limiter.reserve("a")  # type: ignore[call-arg]


def test_a_budget_is_never_overrun_by_many_threads() -> None:
    """Estimates are upper bounds, and settled in any order."""
    limiter, used = RateLimiter(10_000, clock=FakeClock()), []

    def ask(number: int) -> None:
        for turn in range(100):
            cost = (number * 7 + turn * 13) % 50
            reserved = limiter.reserve("a", cost=50)
            if reserved:
                used.append(cost)
                reserved.settle(cost)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(used) <= 10_000
    assert limiter.take("a", cost=0).remaining == 10_000 - sum(used)
    assert sum(used) > 10_000 - 20 * 50
