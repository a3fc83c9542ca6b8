"""Balancer, breaker and cache as programs call them that are written for the textbook's."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any

import pytest

from pylae import CircuitBreakerOpenError, ConfigError, UnavailableError
from pylae.primitives import Cache, CircuitBreaker, HealthChecker, LoadBalancer
from pylae.testing import FakeClock

A, B, C = ({"id": name, "host": f"10.0.0.{place}", "port": 8000} for place, name in enumerate("abc", 1))


def chosen(balancer: LoadBalancer, instances: list[dict[str, Any]], times: int, client: str | None = None) -> str:
    found = (balancer.select_instance(instances, client) for _ in range(times))
    return "".join(one["id"] for one in found if one is not None)


def test_round_robin_unless_something_else_is_said() -> None:
    assert chosen(LoadBalancer(), [A, B, C], 6) == "abcabc"
    assert chosen(LoadBalancer("round_robin"), [A, B, C], 3) == "abc"


def test_turns_are_taken_within_a_service() -> None:
    balancer = LoadBalancer()
    orders = [{**one, "service_name": "orders"} for one in (A, B)]
    assert chosen(balancer, orders, 1) + chosen(balancer, [A, B], 1) + chosen(balancer, orders, 1) == "aab"


def test_instances_come_and_go() -> None:
    balancer = LoadBalancer()
    assert chosen(balancer, [A, B], 2) == "ab"
    assert Counter(chosen(balancer, [A, B, C], 6)) == Counter("aabbcc")
    assert set(chosen(balancer, [C], 3)) == {"c"}


def test_weights() -> None:
    balancer = LoadBalancer(algorithm="weighted_round_robin")
    assert Counter(chosen(balancer, [{**A, "weight": 3}, B], 8)) == {"a": 6, "b": 2}


def test_connections_are_those_that_the_caller_states() -> None:
    balancer = LoadBalancer("least_connections", random=Random(7))
    assert chosen(balancer, [{**A, "active_connections": 5}, {**B, "active_connections": 4}], 3) == "bbb"
    heavy = {**A, "active_connections": 5, "weight": 2}
    assert chosen(balancer, [heavy, {**B, "active_connections": 4}], 3) == "aaa"
    assert set(chosen(balancer, [A, B], 20)) == {"a", "b"}


def test_a_client_stays_where_it_is() -> None:
    balancer = LoadBalancer("ip_hash")
    homes = {f"192.0.2.{number}": chosen(balancer, [A, B, C], 3, f"192.0.2.{number}") for number in range(40)}
    assert {home for homes in homes.values() for home in homes} == {"a", "b", "c"}
    assert all(len(set(home)) == 1 for home in homes.values())
    assert len(set(chosen(balancer, [A, B, C], 60))) == 3, "without an address they spread"


@pytest.mark.parametrize("kind", ["random", "p2c", "consistent_hash", "maglev"])
def test_the_others(kind: Any) -> None:
    balancer = LoadBalancer(kind, random=Random(7))
    assert set(chosen(balancer, [A, B, C], 60)) == {"a", "b", "c"}


def test_what_is_not_healthy_is_passed_over() -> None:
    class Checker(HealthChecker):
        def is_healthy(self, instance: Any) -> bool:
            return bool(instance["id"] != "b")

    balancer = LoadBalancer(health_checker=Checker())
    assert set(chosen(balancer, [A, B, C], 6)) == {"a", "c"}
    assert balancer.select_instance([B]) is None
    assert balancer.select_instance([]) is None


def test_services_are_bounded() -> None:
    balancer = LoadBalancer()
    for number in range(1100):
        assert balancer.select_instance([{**A, "service_name": str(number)}]) is not None
    assert len(balancer._selected) == 1024


def test_a_balancer_without_instances() -> None:
    balancer = LoadBalancer("p2c")
    with pytest.raises(UnavailableError):
        balancer.pick()
    balancer.apply(["http://10.0.0.1:8000"])
    with balancer.pick() as pick:
        assert pick.url == "http://10.0.0.1:8000"


def test_what_is_no_balancer_and_no_instance() -> None:
    with pytest.raises(ConfigError, match="load_balancer"):
        LoadBalancer("fastest")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`host` and `port`"):
        LoadBalancer().select_instance([{"id": "a"}])


async def works(what: str, *, times: int = 1) -> str:
    await asyncio.sleep(0)
    return what * times


async def fails() -> None:
    raise ConnectionRefusedError


def test_calls_pass_a_breaker() -> None:
    async def play() -> None:
        clock = FakeClock()
        breaker = CircuitBreaker(failure_threshold=2, timeout=60, service_name="orders", clock=clock)
        assert await breaker.call(works, "a", times=3) == "aaa"
        assert await breaker.call(len, "four") == 4
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                await breaker.call(fails)
        assert breaker.state == "open"
        with pytest.raises(CircuitBreakerOpenError, match="the circuit breaker of orders is open") as caught:
            await breaker.call(works, "a")
        assert caught.value.retry_after == 60.0
        assert isinstance(caught.value, UnavailableError)
        clock.advance(60)
        assert await breaker.call(works, "a") == "a"
        assert breaker.state == "closed"

    asyncio.run(play())


def test_a_call_that_is_cancelled_says_nothing() -> None:
    async def play() -> None:
        breaker = CircuitBreaker(failure_threshold=1)
        task = asyncio.create_task(breaker.call(asyncio.sleep, 3600))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert breaker.state == "closed"

    asyncio.run(play())


def test_values_by_keys() -> None:
    async def play() -> None:
        clock = FakeClock()
        cache = Cache(clock=clock)
        response = {"status": 200, "headers": {"X-A": "1"}, "body": {"id": 7}}
        assert await cache.get("a") is None
        await cache.set("a", response, ttl=300)
        found = await cache.get("a")
        assert found == response
        found["status"] = 500
        assert await cache.get("a") == response, "it is a copy"
        await cache.set("a", [1], ttl="5m")
        assert await cache.get("a") == [1]
        clock.advance(299)
        assert await cache.get("a") == [1]
        clock.advance(2)
        assert await cache.get("a") is None
        await cache.set("b", "long", ttl=0)
        assert await cache.get("b") is None
        await cache.set("ä\udcff" * 10_000, 1)
        assert await cache.get("ä\udcff" * 10_000) == 1
        await cache.set("big", "x" * 2_000_000)
        assert await cache.get("big") is None, "over max_entry"
        with pytest.raises(TypeError):
            await cache.set("c", object())
        with pytest.raises(ValueError, match="not a duration"):
            await cache.set("c", 1, ttl="soon")

    asyncio.run(play())
