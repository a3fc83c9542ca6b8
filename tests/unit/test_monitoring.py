"""The verdict on a summary, without a gateway."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from pylae import ConfigError, Gateway
from pylae.monitoring import Thresholds, judge


def recent(requests: int, errors: int, mean: float | None) -> dict[str, Any]:
    return {"recent": {"requests": requests, "errors": errors, "mean": mean, "window": 58.0}}


def overload(descriptors: str = "normal", memory: str = "normal") -> dict[str, Any]:
    resources = [
        {"resource": "descriptors", "state": descriptors, "used": 240, "limit": 256},
        {"resource": "memory", "state": memory, "used": 90 << 20, "limit": 100 << 20},
    ]
    return {"overload": {"resources": resources}}


NOTHING: dict[str, Any] = {
    "breaker_reasons": {},
    "stuck": [],
    "over_budget": [],
    "store": None,
    **overload(),
}


def summary(requests: int, errors: int, mean: float | None = 0.01) -> dict[str, Any]:
    """One service has served it all."""
    return {**NOTHING, **recent(requests, errors, mean), "services": {"s": recent(requests, errors, mean)}}


def of(**services: tuple[int, int, float]) -> dict[str, Any]:
    """Requests, errors and mean duration of several services."""
    requests, errors = (sum(figures[index] for figures in services.values()) for index in (0, 1))
    mean = sum(requests * mean for requests, _, mean in services.values()) / requests
    by_name = {name: recent(*figures) for name, figures in services.items()}
    return {**NOTHING, **recent(int(requests), int(errors), mean), "services": by_name}


@pytest.mark.parametrize(
    ("requests", "errors", "mean", "expected"),
    [
        (0, 0, None, "healthy"),
        (100, 5, 1.0, "healthy"),
        (1000, 51, 0.1, "degraded"),
        (100, 10, 0.1, "degraded"),
        (1000, 101, 0.1, "unhealthy"),
        (100, 0, 1.01, "degraded"),
        (100, 50, 5.0, "unhealthy"),
        (1, 1, 0.1, "unhealthy"),
    ],
)
def test_verdicts(requests: int, errors: int, mean: float | None, expected: str) -> None:
    health = judge(summary(requests, errors, mean), Thresholds())
    assert health.status == expected
    assert bool(health.reasons) == (expected != "healthy")
    assert health.as_dict() == {
        "status": expected,
        "reasons": list(health.reasons),
        "window": 58.0,
        "requests": requests,
        "errors": errors,
        "error_rate": errors / requests if requests else 0.0,
        "mean_duration": mean,
        "maintenance": [],
        "services": {"s": {"status": expected, "requests": requests, "errors": errors, "mean_duration": mean}},
    }


def test_reasons_name_the_worst_services() -> None:
    services = {f"s{number}": (number, number - 1, number / 1.0) for number in range(1, 9)}
    errors, duration = judge(of(**services), Thresholds()).reasons
    assert errors == (
        "77.8% of 36 responses were errors (5xx), more than 0.1 of all: "
        "s8 7 of 8, s7 6 of 7, s6 5 of 6, s5 4 of 5, s4 3 of 4"
    )
    assert duration == "responses took 5.67 s on average, more than 1 s: s8 8 s, s7 7 s, s6 6 s, s5 5 s, s4 4 s"


def test_a_service_is_not_hidden_by_the_others() -> None:
    health = judge(of(orders=(14, 14, 0.01), users=(300, 0, 0.01)), Thresholds())
    assert health.status == "degraded"
    assert health.reasons == ("orders: 100.0% of 14 responses were errors (5xx), more than 0.1 of all",)
    assert {name: one.status for name, one in health.services.items()} == {"orders": "unhealthy", "users": "healthy"}
    slow = judge(of(orders=(14, 0, 3.0), users=(300, 0, 0.01)), Thresholds())
    assert (slow.status, slow.reasons) == ("degraded", ("orders: responses took 3 s on average, more than 1 s",))


def test_an_open_breaker_says_why_it_opened() -> None:
    found = {**summary(10, 0), "breaker_reasons": {"s": "5 failures in a row, the last: status 503"}}
    health = judge(found, Thresholds())
    assert health.status == "degraded"
    assert health.reasons == ("s: the circuit breaker opened: 5 failures in a row, the last: status 503",)


def test_what_the_gateway_lacks_is_told() -> None:
    health = judge({**summary(10, 0), **overload("paused", "shedding")}, Thresholds())
    assert health.status == "degraded"
    assert health.reasons == (
        "94% of 256 file descriptors are in use: no connections are accepted",
        "90% of 100 MB of memory are in use: idle connections are closed",
    )


def test_a_store_that_is_not_available_is_told() -> None:
    store = {"cluster": "shop", "problem": None}
    assert judge({**summary(10, 0), "store": store}, Thresholds()).status == "healthy"
    store |= {"problem": "no answer in time", "unavailable_for": 7.4, "servers": 3}
    for connected, what in ((0, "the store"), (2, "a part of the store"), (3, "the store")):
        health = judge({**summary(10, 0), "store": {**store, "connected": connected}}, Thresholds())
        assert health.status == "degraded"
        assert health.reasons == (f"{what} of cluster shop has not been available for 7 s: no answer in time",)


def test_thresholds_can_be_moved() -> None:
    lenient = Thresholds(degraded_errors=0.5, unhealthy_errors=0.5, degraded_duration=None, minimum_requests=10)
    assert judge(summary(100, 50, 100.0), lenient).status == "healthy"
    assert judge(summary(100, 51, 100.0), lenient).status == "unhealthy"
    assert judge(summary(9, 9), lenient).status == "healthy"


def test_settings() -> None:
    gateway = Gateway(health={"degraded_duration": "250ms", "degraded_errors": 0.01})
    assert gateway.config.health.degraded_duration == timedelta(milliseconds=250)
    with pytest.raises(ConfigError, match="`unhealthy_errors` must not be lower than `degraded_errors`"):
        Thresholds(degraded_errors=0.2)
    with pytest.raises(ConfigError):
        Thresholds(degraded_errors=0)


def test_a_hook_that_does_not_return_is_named() -> None:
    reasons = ("1 of 2 workers are stuck", "hook shop.hooks.check on route orders has been running for 3.2 s")
    health = judge({**summary(10, 0), "stuck": list(reasons)}, Thresholds())
    assert (health.status, health.reasons) == ("degraded", reasons)
