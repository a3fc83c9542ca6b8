"""The circuit breaker against a model, and as people use it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylae import ConfigError, PylaeError, UnavailableError
from pylae.primitives import Attempt, CircuitBreaker

SECOND = 10**9


@dataclass
class Clock:
    """A clock that shows what it is told."""

    now: int = SECOND

    def __call__(self) -> int:
        return self.now


@dataclass
class Model:
    """The textbook breaker, with attempts known by the period in which they were let through."""

    threshold: int
    timeout: int
    most: int
    state: str = "closed"
    period: int = 0
    failures: int = 0
    probes: int = 0
    until: int = 0
    let: dict[int, int] = field(default_factory=dict)

    def enter(self, state: str) -> None:
        self.state, self.period = state, self.period + 1
        self.failures = self.probes = 0

    def attempt(self, number: int, now: int) -> bool:
        if self.state == "open" and now >= self.until:
            self.enter("half_open")
        if self.state == "open" or (self.state == "half_open" and self.probes == self.most):
            return False
        self.probes += self.state == "half_open"
        self.let[number] = self.period
        return True

    def end(self, number: int, how: str, now: int) -> None:
        if self.let.pop(number) != self.period:
            return
        if how == "release":
            self.probes -= self.state == "half_open"
        elif how == "succeed":
            self.failures = 0
            if self.state == "half_open":
                self.enter("closed")
        else:
            self.failures += 1
            if self.state == "half_open" or self.failures >= self.threshold:
                self.enter("open")
                self.until = now + self.timeout


steps = st.lists(
    st.tuples(st.integers(0, 8), st.sampled_from(["attempt", "attempt", "succeed", "fail", "fail", "release"])),
    max_size=80,
)


@given(threshold=st.integers(1, 4), timeout=st.integers(1, 20), most=st.integers(1, 3), steps=steps)
@settings(max_examples=300, deadline=None)
def test_model(threshold: int, timeout: int, most: int, steps: list[tuple[int, str]]) -> None:
    clock = Clock()
    breaker = CircuitBreaker(
        failure_threshold=threshold, timeout=timedelta(seconds=timeout), half_open_requests=most, clock=clock
    )
    model = Model(threshold, timeout * SECOND, most)
    open_now: dict[int, Attempt] = {}
    for number, (pause, what) in enumerate(steps):
        clock.now += pause * SECOND
        if what == "attempt":
            try:
                open_now[number] = breaker.attempt()
            except UnavailableError as refused:
                assert not model.attempt(number, clock.now)
                left = model.until - clock.now if model.state == "open" else 0
                assert refused.retry_after == left / SECOND
            else:
                assert model.attempt(number, clock.now)
        elif open_now:
            oldest = next(iter(open_now))
            getattr(open_now.pop(oldest), what)()
            model.end(oldest, what, clock.now)
        assert breaker.state == model.state
        assert breaker.open_for == (max(model.until - clock.now, 0) / SECOND if model.state == "open" else 0)


def opened(clock: Clock, **settings: object) -> CircuitBreaker:
    breaker = CircuitBreaker(failure_threshold=1, timeout="30s", clock=clock, **settings)
    breaker.attempt().fail()
    assert breaker.state == "open"
    return breaker


def test_what_a_block_says() -> None:
    clock = Clock()
    breaker = CircuitBreaker(failure_threshold=1, timeout="30s", clock=clock)
    with breaker.attempt():
        pass
    with pytest.raises(KeyError), breaker.attempt():
        raise KeyError
    assert (breaker.state, breaker.open_for) == ("open", 30)
    with pytest.raises(UnavailableError, match="open") as refused:
        breaker.attempt()
    assert refused.value.retry_after == 30
    clock.now += 30 * SECOND
    with breaker.attempt():
        assert breaker.state == "half_open"
        with pytest.raises(UnavailableError):
            breaker.attempt()
    assert breaker.state == "closed"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_an_interruption_says_nothing(interruption: type[BaseException]) -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 30 * SECOND
    with pytest.raises(interruption), breaker.attempt():
        raise interruption
    assert breaker.state == "half_open"
    breaker.attempt().succeed()
    assert breaker.state == "closed"


def test_a_lost_probe_gives_its_place_back() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 30 * SECOND
    attempt = breaker.attempt()
    with pytest.raises(UnavailableError) as refused:
        breaker.attempt()
    assert refused.value.retry_after == 0
    del attempt
    breaker.attempt().succeed()
    assert breaker.state == "closed"


def test_only_the_first_word_counts() -> None:
    breaker = CircuitBreaker(failure_threshold=1, clock=Clock())
    with breaker.attempt() as attempt:
        attempt.status(404)
        attempt.fail()
    assert breaker.state == "closed"
    with breaker.attempt() as attempt:
        attempt.status(503)
    assert breaker.state == "open"


def test_failure_rate() -> None:
    clock = Clock(1000 * SECOND)
    rule = {"failure_threshold": 1000, "failure_rate": 0.5, "window": "10s", "minimum_requests": 10}
    breaker = CircuitBreaker(clock=clock, **rule)
    for number in range(10):
        assert breaker.state == "closed"
        with breaker.attempt() as attempt:
            attempt.status(500 if number % 2 else 200)
    assert breaker.state == "open"


def test_threads_share_it() -> None:
    breaker = CircuitBreaker(failure_threshold=4000, clock=Clock())

    def work() -> None:
        for _ in range(999):
            breaker.attempt().fail()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.state == "closed"
    for _ in range(4):
        breaker.attempt().fail()
    assert breaker.state == "open"


def test_wrong_settings_say_where_and_what() -> None:
    with pytest.raises(
        ConfigError, match=r"test_breaker\.py:\d+: failure_treshold: .*did you mean `failure_threshold`"
    ):
        CircuitBreaker(failure_treshold=3)
    with pytest.raises(ConfigError, match="at least 1"):
        CircuitBreaker(failure_threshold=0)


def test_real_time() -> None:
    assert issubclass(UnavailableError, PylaeError)
    with CircuitBreaker().attempt():
        pass
