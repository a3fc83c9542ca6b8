"""The last hour: figures by readings, and since when something is wrong."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pylae.runtime import timeline
from pylae.runtime.timeline import LASTING, MOST_SERVICES, Timeline

ONE = "http://127.0.0.1:1"


class Engine:
    """What a timeline asks, as a test says it is. Each reading is five seconds after the one before."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.counts: dict[str, tuple[int, int]] = {"orders": (0, 0)}
        self.instance: dict[str, Any] = {"url": ONE, "state": "up", "attempts": 0, "failures": 0, "breaker": None}
        self.breaker: dict[str, Any] | None = None
        self.timeline = Timeline(self.stats, self.summary, lambda: self.now)

    def stats(self) -> dict[str, Any]:
        return {"services": [{"name": "orders", "breaker": self.breaker, "instances": [self.instance]}]}

    def summary(self) -> dict[str, Any]:
        recent = {"p50": 0.1, "p99": None}
        services = {
            name: {"requests": requests, "errors": errors, "recent": recent}
            for name, (requests, errors) in self.counts.items()
        }
        total = [sum(column) for column in zip(*self.counts.values(), strict=True)] or [0, 0]
        return {"requests": total[0], "errors": total[1], "recent": recent, "services": services}

    def read(self, **instance: Any) -> None:
        self.now += 5
        self.instance |= instance
        self.timeline.read()

    @property
    def kinds(self) -> list[tuple[str, float, float | None]]:
        return [(one.kind, one.since, one.until) for one in self.timeline.troubles()]


def test_figures_are_what_was_added_since_the_reading_before() -> None:
    engine = Engine()
    engine.read()
    engine.counts["orders"] = (10, 1)
    engine.read()
    engine.counts["orders"] = (25, 1)
    engine.read()
    times, series = engine.timeline.series(["orders", "nobody"])
    assert times == [1005.0, 1010.0, 1015.0]
    assert series["orders"]["requests"] == [None, 10, 15]
    assert series["orders"]["errors"] == [None, 1, 0]
    assert series[""]["requests"] == [None, 10, 15]
    assert series["orders"]["p99"] == [None, None, None]
    assert math.isclose(series["orders"]["p50"][-1] or 0, 0.1, rel_tol=1e-6)
    assert series["nobody"]["requests"] == [None, None, None]


@pytest.mark.parametrize("count", [1, LASTING - 1, LASTING, LASTING + 1, 2 * LASTING])
def test_an_hour_is_kept_and_no_more(count: int) -> None:
    engine = Engine()
    for number in range(count):
        engine.counts["orders"] = (number + 1, 0)
        engine.read()
    times, series = engine.timeline.series(["orders"])
    assert len(times) == len(series["orders"]["requests"]) == len(series[""]["p99"]) == min(count, LASTING)


def test_so_many_services_are_kept_and_those_that_are_gone_are_forgotten() -> None:
    engine = Engine()
    engine.counts = {f"s{number}": (1, 0) for number in range(2 * MOST_SERVICES)}
    engine.read()
    series = engine.timeline.series(list(engine.counts))[1]
    assert sum(1 for name in engine.counts if series[name]["requests"][0]) == MOST_SERVICES
    engine.counts = {"late": (1, 0)}
    engine.read()
    assert engine.timeline.series(["s0"])[1]["s0"]["requests"] == [None, None]
    assert engine.timeline.series(["late"])[1]["late"]["requests"] == [None, 1]


def test_a_state_lasts_from_the_first_reading_to_the_last() -> None:
    engine = Engine()
    engine.read()
    engine.read(state="down")
    engine.read()
    assert engine.kinds == [("down", 1010.0, None)]
    engine.read(state="up")
    assert engine.kinds == [("down", 1010.0, 1020.0)]


def test_the_reason_of_a_breaker_is_kept() -> None:
    engine = Engine()
    engine.breaker = {"state": "open", "reason": "5 failures in a row"}
    engine.read()
    engine.breaker = {"state": "half_open", "reason": "5 failures in a row"}
    engine.read()
    found = engine.timeline.troubles()
    assert [(one.kind, one.why, one.until) for one in found] == [
        ("half_open", "5 failures in a row", None),
        ("open", "5 failures in a row", 1010.0),
    ]


def test_failures_last_over_quiet_readings() -> None:
    engine = Engine()
    engine.read()
    engine.read(attempts=4, failures=3)
    assert engine.kinds == [("failing", 1010.0, None)]
    assert engine.timeline.troubles()[0].why == "3 of 4 attempts failed"
    engine.read()
    engine.read()
    assert engine.kinds == [("failing", 1010.0, None)]
    engine.read(attempts=8, failures=7)
    engine.read()
    engine.read()
    engine.read()
    assert engine.kinds == [("failing", 1010.0, 1040.0)]


def test_few_failures_are_no_trouble() -> None:
    engine = Engine()
    engine.read()
    engine.read(attempts=2, failures=2)
    engine.read(attempts=12, failures=6)
    assert engine.kinds == []


def test_a_service_that_answers_with_errors() -> None:
    engine = Engine()
    engine.counts["orders"] = (4, 0)
    engine.read()
    engine.counts["orders"] = (8, 3)
    engine.read()
    assert engine.kinds == [("errors", 1010.0, None)]


def test_troubles_have_a_bound(monkeypatch: Any) -> None:
    monkeypatch.setattr(timeline, "MOST_TROUBLES", 2)
    engine = Engine()
    engine.counts = {f"s{number}": (4, 4) for number in range(5)}
    engine.read()
    assert len(engine.kinds) == 2
