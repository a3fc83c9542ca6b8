"""How each balancer spreads requests, over one worker and two, and what ties a client to an instance."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from math import log

import pytest

from support.instance import OK, EchoInstance, RawInstance
from support.load import answers, get
from support.peer import Message, Peer, wait_until
from support.running import Running

Start = Callable[..., Running]

#: Chi-square with two degrees of freedom is above this once in a million runs: its tail is exp(-x / 2).
ONCE_IN_A_MILLION = 2 * log(1e6)
CONNECTIONS = 10
EACH = 30

pytestmark = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture
def three() -> Iterator[list[EchoInstance]]:
    """Three instances that say their names."""
    with ExitStack() as stack:
        yield [stack.enter_context(EchoInstance(name)) for name in "abc"]


def who(answer: Message) -> str:
    """Name of the instance that gave the answer."""
    assert answer.status == 200, answer
    return str(json.loads(answer.body)["instance"])


def spread(running: Running) -> Counter[str]:
    """Requests by instance, over several connections, so that all workers have some."""
    count: Counter[str] = Counter()
    for _ in range(CONNECTIONS):
        count.update(map(who, answers(running.address, [get()] * EACH)))
    return count


def chi_square(count: Counter[str], weights: dict[str, int]) -> float:
    """How far the counts are from the weights."""
    share = count.total() / sum(weights.values())
    return sum((count[name] - share * weight) ** 2 / (share * weight) for name, weight in weights.items())


def configured(
    workers: int, balancer: object, instances: list[EchoInstance], weights: tuple[int, ...]
) -> dict[str, object]:
    listed = [{"url": one.url, "weight": weight} for one, weight in zip(instances, weights, strict=True)]
    return {
        "workers": workers,
        "trusted_proxies": ["127.0.0.1/32"],
        "services": {"shop": {"load_balancer": balancer, "instances": listed}},
    }


@pytest.mark.parametrize(
    ("balancer", "expected"),
    [("round_robin", {"a": 100, "b": 100, "c": 100}), ("weighted_round_robin", {"a": 50, "b": 100, "c": 150})],
)
def test_turns_are_exact(
    gateway: Start, three: list[EchoInstance], workers: int, balancer: str, expected: dict[str, int]
) -> None:
    running = gateway(configured(workers, balancer, three, (1, 2, 3)))
    assert spread(running) == expected


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, 3)])
def test_random_is_by_weight(gateway: Start, three: list[EchoInstance], workers: int, weights: tuple[int, ...]) -> None:
    running = gateway(configured(workers, "random", three, weights))
    assert chi_square(spread(running), dict(zip("abc", weights, strict=True))) < ONCE_IN_A_MILLION


@pytest.mark.parametrize(
    ("balancer", "weights", "expected"),
    [("least_connections", (1, 1), (6, 6)), ("least_connections", (1, 2), (4, 8)), ("p2c", (1, 1), (6, 6))],
)
def test_what_is_in_flight_counts_over_workers(
    gateway: Start, workers: int, balancer: str, weights: tuple[int, int], expected: tuple[int, int]
) -> None:
    with RawInstance() as one, RawInstance() as other, ExitStack() as clients:
        instances = [{"url": item.url, "weight": weight} for item, weight in zip((one, other), weights, strict=True)]
        running = gateway(
            {"workers": workers, "services": {"shop": {"load_balancer": balancer, "instances": instances}}}
        )
        # One by one: requests that come at the same instant cannot know of each other.
        for number in range(12):
            clients.enter_context(running.connect()).send(get())
            wait_until(lambda count=number + 1: one.connections + other.connections == count)  # type: ignore[misc]
        assert (one.connections, other.connections) == expected


def hashed(running: Running, keys: list[str], field: str) -> dict[str, str]:
    """The instance of each key; each is asked for twice, over different connections."""
    found: list[dict[str, str]] = []
    for _ in range(2):
        named: list[str] = []
        for start in range(0, len(keys), EACH):
            requests = [get("/", field.format(key)) for key in keys[start : start + EACH]]
            named += map(who, answers(running.address, requests))
        found.append(dict(zip(keys, named, strict=True)))
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    ("balancer", "field"),
    [
        ({"kind": "ip_hash"}, "X-Forwarded-For: 192.0.2.{}"),
        ({"kind": "consistent_hash", "on": "header:X-Tenant"}, "X-Tenant: tenant-{}"),
        ({"kind": "consistent_hash", "on": "cookie:tenant"}, "Cookie: a=b; tenant=t{}; c=d"),
    ],
    ids=["ip_hash", "header", "cookie"],
)
def test_a_hash_stays_where_it_is(
    gateway: Start, three: list[EchoInstance], workers: int, balancer: dict[str, str], field: str
) -> None:
    keys = [str(number) for number in range(1, 241)]
    running = gateway(configured(workers, balancer, three, (1, 1, 1)))
    before = hashed(running, keys, field)
    assert chi_square(Counter(before.values()), dict.fromkeys("abc", 1)) < ONCE_IN_A_MILLION
    running.apply(configured(workers, balancer, three[:2], (1, 1)))
    without = hashed(running, keys, field)
    assert {key for key in keys if before[key] != without[key]} == {key for key in keys if before[key] == "c"}
    running.apply(configured(workers, balancer, three[::-1], (1, 1, 1)))
    assert hashed(running, keys, field) == before


def test_a_request_without_the_key_goes_anywhere(gateway: Start, three: list[EchoInstance], workers: int) -> None:
    balancer = {"kind": "consistent_hash", "on": "header:X-Tenant"}
    running = gateway(configured(workers, balancer, three, (1, 1, 1)))
    assert chi_square(spread(running), dict.fromkeys("abc", 1)) < ONCE_IN_A_MILLION


def test_a_cookie_keeps_a_client_on_an_instance(gateway: Start, three: list[EchoInstance], workers: int) -> None:
    def config(instances: list[EchoInstance]) -> dict[str, object]:
        sticky = {"cookie": "stay", "ttl": "1h", "secret": "not told"}
        urls = [instance.url for instance in instances]
        return {"workers": workers, "services": {"shop": {"sticky": sticky, "instances": urls}}}

    running = gateway(config(three))
    first = running.get()
    given = first.one("set-cookie")
    assert given is not None
    cookie, _, attributes = given.partition("; ")
    assert attributes == "Path=/; HttpOnly; SameSite=Lax; Max-Age=3600"
    same = [running.get("/", f"Cookie: a=b; {cookie}") for _ in range(6)]
    assert {who(answer) for answer in same} == {who(first)}
    assert not any("set-cookie" in answer for answer in same)
    # Over a reload that changes the order.
    running.apply(config(three[::-1]))
    assert who(running.get("/", f"Cookie: {cookie}")) == who(first)
    # When its instance goes, the client moves once and stays there.
    running.apply(config([instance for instance in three if instance.name != who(first)]))
    moved = running.get("/", f"Cookie: {cookie}")
    other = moved.one("set-cookie")
    assert other is not None and other != given and who(moved) != who(first)
    after = running.get("/", f"Cookie: {other.partition(';')[0]}")
    assert who(after) == who(moved) and "set-cookie" not in after


def test_no_cookie_names_an_instance_that_failed(gateway: Start, workers: int) -> None:
    with RawInstance(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n") as bad:
        running = gateway({"workers": workers, "services": {"shop": {"sticky": True}}}, shop=bad)
        answer = running.get()
        assert answer.status == 500 and "set-cookie" not in answer


def test_an_instance_that_joins_starts_slowly(gateway: Start, three: list[EchoInstance], workers: int) -> None:
    config = {"workers": workers, "services": {"shop": {"slow_start": "1h"}}}
    running = gateway(config, shop=three[:2])
    assert spread(running) == {"a": 150, "b": 150}
    running.apply(config, shop=three)
    # A tenth of its turns are its own: 10 of 300 expected, and binomial, so that 40 do not happen once in a million.
    assert 0 < spread(running)["c"] < 40


def held(peer: Peer, _: Message) -> None:
    """Never answers."""


def test_an_instance_in_trouble_gives_its_share_to_all_others(
    gateway: Start, three: list[EchoInstance], workers: int
) -> None:
    config = configured(workers, "round_robin", three, (1, 1, 1))
    running = gateway(config)
    engine = running.gateway.engine
    assert engine is not None
    engine.set_draining("shop", three[1].url, True)
    assert spread(running) == {"a": 150, "c": 150}
    engine.set_draining("shop", three[1].url, False)
    assert spread(running) == {"a": 100, "b": 100, "c": 100}


def test_two_choices_avoid_the_loaded_one(gateway: Start, workers: int) -> None:
    with RawInstance(held) as busy, RawInstance(OK) as free, ExitStack() as clients:
        config = {"workers": workers, "services": {"shop": {"load_balancer": "p2c"}}}
        running = gateway(config, shop=[busy, free])
        sent = 0
        while not busy.requests:
            clients.enter_context(running.connect()).send(get())
            sent += 1
            wait_until(lambda count=sent: len(busy.requests) + len(free.requests) == count)  # type: ignore[misc]
        before = len(free.requests)
        assert [answer.status for answer in answers(running.address, [get()] * 50)] == [200] * 50
        assert (len(busy.requests), len(free.requests)) == (1, before + 50)
