"""How often a server is asked that fails."""

from __future__ import annotations

import logging

import pytest

from pylae.errors import HTTPError
from pylae.identity.failures import AnswerError, AwayError
from pylae.identity.outage import Outage
from pylae.registry.client import ApiError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def wait_of(error: HTTPError) -> int:
    assert error.status == 503
    return int(dict(error.headers)["Retry-After"])


def test_pauses_grow_and_one_call_tries_again() -> None:
    clock = Clock()
    outage = Outage("one", 5.0, clock)
    for expected in (1, 1, 1):
        outage.admit()
        assert wait_of(outage.failed(ApiError("it is away"))) == expected
    for pause in (1, 2, 4, 8, 16, 30, 30):
        with pytest.raises(HTTPError) as refused:
            outage.admit()
        assert wait_of(refused.value) == pause
        clock.now += pause
        outage.admit()
        # Others wait for what comes of it.
        with pytest.raises(HTTPError) as waiting:
            outage.admit()
        assert wait_of(waiting.value) == 5
        outage.failed(ApiError("it is away"))
    clock.now += 30
    outage.admit()
    outage.succeeded()
    for _ in range(10):
        outage.admit()


def test_a_call_that_ends_without_a_result_is_followed_by_another() -> None:
    clock = Clock()
    outage = Outage("one", 5.0, clock)
    for _ in range(3):
        outage.failed(ApiError("it is away"))
    clock.now += 1
    outage.admit()
    clock.now += 5
    outage.admit()


def test_a_few_failures_between_answers_change_nothing() -> None:
    outage = Outage("one", 5.0, Clock())
    for _ in range(10):
        outage.failed(ApiError("it is away"))
        outage.succeeded()
        outage.admit()


def test_the_log_says_each_reason_once_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("one", 5.0, Clock())
    with caplog.at_level(logging.INFO, "pylae"):
        for reason in ("a", "a", "b", "a"):
            outage.failed(ApiError(reason))
        outage.succeeded()
        outage.succeeded()
    assert [record.getMessage() for record in caplog.records] == [
        *(f"authenticator one cannot tell who users are: {reason}" for reason in "aba"),
        "authenticator one can tell again who users are",
    ]


def test_answers_that_cannot_be_used_shut_out_nobody() -> None:
    outage = Outage("one", 5.0, Clock())
    for _ in range(10):
        outage.failed(AnswerError("status 500"))
        outage.admit()
    for _ in range(3):
        outage.failed(AwayError("status 503"))
    with pytest.raises(HTTPError):
        outage.admit()
