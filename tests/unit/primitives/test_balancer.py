"""Balancers against models, and what spares an instance."""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylae import ConfigError, Service, UnavailableError
from pylae.config.tables import BALANCERS, balancers_with
from pylae.primitives import LoadBalancer, Pick

SECOND = 10**9


class Clock:
    """A clock that shows what it is told."""

    def __init__(self) -> None:
        self.now = SECOND

    def __call__(self) -> int:
        return self.now


def urls(count: int) -> list[str]:
    return [f"http://i{number}:8000" for number in range(count)]


def spread(balancer: LoadBalancer, picks: int) -> Counter[str]:
    return Counter(balancer.pick().url for _ in range(picks))


@given(weights=st.lists(st.integers(1, 9), min_size=1, max_size=6), picks=st.integers(1, 80))
@settings(max_examples=200, deadline=None)
def test_weighted_round_robin_is_that_of_nginx(weights: list[int], picks: int) -> None:
    instances = [{"url": url, "weight": weight} for url, weight in zip(urls(len(weights)), weights, strict=True)]
    balancer = LoadBalancer(instances, "weighted_round_robin")
    balances = [0] * len(weights)
    for _ in range(picks):
        balances = [balance + weight for balance, weight in zip(balances, weights, strict=True)]
        best = balances.index(max(balances))
        balances[best] -= sum(weights)
        assert balancer.pick().url == f"http://i{best}:8000"


@given(steps=st.lists(st.none() | st.integers(0, 30), max_size=120), count=st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_least_connections_never_picks_a_busier_one(steps: list[int | None], count: int) -> None:
    balancer = LoadBalancer(urls(count), "least_connections")
    held: list[Pick] = []
    busy = Counter(dict.fromkeys(urls(count), 0))
    for step in steps:
        if step is None or not held:
            held.append(balancer.pick())
            assert busy[held[-1].url] == min(busy.values())
            busy[held[-1].url] += 1
        else:
            pick = held.pop(step % len(held))
            pick.end()
            busy[pick.url] -= 1
    assert {item["url"]: item["in_flight"] for item in balancer.stats()["instances"]} == busy


def test_maglev_moves_few_needlessly() -> None:
    keys = [str(number) for number in range(4000)]
    balancer = LoadBalancer(urls(10), "maglev")
    before = {key: balancer.pick(key).url for key in keys}
    balancer.apply(urls(9)[::-1])
    after = {key: balancer.pick(key).url for key in keys}
    needless = [key for key, url in before.items() if url != "http://i9:8000" and after[key] != url]
    assert len(needless) < len(keys) * 0.02
    assert set(after.values()) == set(urls(9))
    balancer.apply(urls(10))
    assert {key: balancer.pick(key).url for key in keys} == before


@pytest.mark.parametrize("kind", ["ip_hash", "consistent_hash"])
def test_hashes_move_only_what_must_move(kind: str) -> None:
    keys = [str(ipaddress.ip_address(number * 7919)) for number in range(2000)]
    balancer = LoadBalancer(urls(4), kind)
    before = {key: balancer.pick(key).url for key in keys}
    assert {key: balancer.pick(key).url for key in keys} == before
    balancer.apply(urls(3))
    after = {key: balancer.pick(key).url for key in keys}
    assert all(after[key] == url for key, url in before.items() if url != "http://i3:8000")
    assert set(after.values()) == set(urls(3))
    assert min(Counter(before.values()).values()) > 400


def test_an_address_is_one_key_however_it_is_written() -> None:
    balancer = LoadBalancer(urls(16), "ip_hash")
    for number in range(50):
        assert balancer.pick(f"10.0.0.{number}").url == balancer.pick(f"::ffff:10.0.0.{number}").url
    with pytest.raises(ValueError, match="nobody"):
        balancer.pick("nobody")


def test_chance_is_repeatable() -> None:
    one, other = (LoadBalancer(urls(5), "random", random=Random(7)) for _ in range(2))
    picks = [one.pick().url for _ in range(50)]
    assert picks == [other.pick().url for _ in range(50)]
    assert len(set(picks)) == 5


def test_p2c_prefers_the_faster() -> None:
    clock = Clock()
    balancer = LoadBalancer(urls(3), "p2c", clock=clock, random=Random(1))
    picked: Counter[str] = Counter()
    for _ in range(600):
        clock.now += SECOND // 1000
        with balancer.pick() as pick:
            picked[pick.url] += 1
            pick.report(200, latency=0.05 if pick.url == "http://i1:8000" else 0.005)
    assert picked["http://i1:8000"] < 30


@pytest.mark.parametrize("kind", BALANCERS)
def test_every_kind_spares_what_is_down_draining_or_to_be_avoided(kind: str) -> None:
    on = {"kind": kind, "on": "user"} if kind in balancers_with("key") else kind
    check = {"unhealthy_after": 1}
    balancer = LoadBalancer(Service(instances=urls(4), load_balancer=on, health_check=check), clock=Clock())
    assert "down" in (balancer.check("http://I0:8000/", healthy=False) or "")
    assert "draining" in (balancer.set_draining("http://i1:8000") or "")
    for number in range(40):
        assert balancer.pick(f"10.0.0.{number}", avoid=["http://i2:8000"]).url == "http://i3:8000"
    assert balancer.pick("10.0.0.1", avoid=urls(4)).url in urls(4)[2:]
    assert "up" in (balancer.check("http://i0:8000", healthy=True) or "")
    assert balancer.set_draining("http://i1:8000", draining=False)
    for url in urls(4):
        assert balancer.pick("10.0.0.1", avoid=[other for other in urls(4) if other != url]).url == url


def test_nothing_can_be_used() -> None:
    balancer = LoadBalancer(Service(instances=urls(1), health_check={"unhealthy_after": 1}))
    balancer.check("http://i0:8000", healthy=False)
    with pytest.raises(UnavailableError, match="healthy"):
        balancer.pick()
    with pytest.raises(LookupError, match="i9"):
        balancer.check("http://i9:8000", healthy=True)
    with pytest.raises(LookupError, match="not a URL"):
        balancer.set_draining("not a URL")


def test_failures_eject_for_a_while() -> None:
    clock = Clock()
    passive = {"failures": 2, "ejection": "10s"}
    balancer = LoadBalancer(Service(instances=urls(2), passive_health=passive), clock=clock)
    for _ in range(4):
        with balancer.pick() as pick:
            if pick.url == "http://i1:8000":
                changes = pick.report("reset")
    assert len(changes) == 1
    assert "ejected" in changes[0]
    assert spread(balancer, 10) == {"http://i0:8000": 10}
    clock.now += 10 * SECOND
    assert spread(balancer, 10) == {"http://i0:8000": 5, "http://i1:8000": 5}


@pytest.mark.parametrize(
    ("error", "failures"),
    [(None, 0), (TimeoutError, 1), (ConnectionRefusedError, 1), (ValueError, 1), (KeyboardInterrupt, 0)],
)
def test_what_a_block_says(error: type[BaseException] | None, failures: int) -> None:
    balancer = LoadBalancer(urls(1))
    if error is None:
        with balancer.pick() as pick:
            assert balancer.stats()["instances"][0]["in_flight"] == 1
    else:
        with pytest.raises(error), balancer.pick() as pick:
            raise error
    (instance,) = balancer.stats()["instances"]
    assert (instance["in_flight"], instance["attempts"], instance["failures"]) == (0, 1, failures)
    with pytest.raises(ValueError, match="over"):
        pick.report(200)
    pick.end()


def test_a_pick_that_is_dropped_is_over() -> None:
    balancer = LoadBalancer(urls(1))
    pick = balancer.pick()
    assert balancer.stats()["instances"][0]["in_flight"] == 1
    del pick
    assert balancer.stats()["instances"][0]["in_flight"] == 0


def test_a_breaker_of_the_service() -> None:
    clock = Clock()
    breaker = {"failure_threshold": 2, "timeout": "5s"}
    balancer = LoadBalancer(Service(instances=urls(2), circuit_breaker=breaker), clock=clock)
    for _ in range(2):
        with balancer.pick() as pick:
            pick.report(503)
    with pytest.raises(UnavailableError, match="breaker") as refused:
        balancer.pick()
    assert refused.value.retry_after == 5
    clock.now += 5 * SECOND
    with balancer.pick():
        pass
    assert balancer.stats()["breaker"]["state"] == "closed"


def test_sticky_cookie() -> None:
    balancer = LoadBalancer(Service(instances=urls(5), sticky=True))
    first = balancer.pick()
    assert first.cookie is not None
    again = [balancer.pick(cookie=first.cookie) for _ in range(10)]
    assert {pick.url for pick in again} == {first.url}
    assert {pick.cookie for pick in again} == {None}


def test_state_outlives_other_instances() -> None:
    clock = Clock()
    balancer = LoadBalancer(urls(2), "least_connections", clock=clock)
    held = [balancer.pick() for _ in range(4)]
    balancer.apply(urls(3))
    assert [balancer.pick().url for _ in range(2)] == ["http://i2:8000"] * 2
    for pick in held:
        pick.report(200)
        pick.end()
    assert [item["in_flight"] for item in balancer.stats()["instances"]] == [0, 0, 0]


def test_threads_share_it() -> None:
    balancer = LoadBalancer(urls(4))
    counts: list[Counter[str]] = []
    threads = [threading.Thread(target=lambda: counts.append(spread(balancer, 1000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts, Counter()) == dict.fromkeys(urls(4), 1000)
    assert sum(item["in_flight"] for item in balancer.stats()["instances"]) == 0


def test_wrong_settings_say_where_and_what() -> None:
    with pytest.raises(ConfigError, match=r"test_balancer\.py:\d+: instances\[0\]\.url: is not the URL"):
        LoadBalancer(["ftp://a"])
    with pytest.raises(ConfigError, match="twice"):
        LoadBalancer(["http://a:1", "http://A:1"])
    with pytest.raises(ConfigError, match="did you mean `round_robin`"):
        LoadBalancer(["http://a:1"], "roundrobin")
    with pytest.raises(ConfigError, match="weight"):
        LoadBalancer([{"url": "http://a:1", "weight": 0}])
    balancer = LoadBalancer(["http://a:1"])
    with pytest.raises(ConfigError, match="twice"):
        balancer.apply(["http://b:1", "http://b:1"])
    assert balancer.pick().url == "http://a:1"
