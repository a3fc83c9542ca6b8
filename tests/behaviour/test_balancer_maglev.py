"""`maglev`: by a key, from a table that all workers and all gateways have alike."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from support.instance import EchoInstance
from support.load import answers, get
from support.running import Running

Start = Callable[..., Running]

KEYS = [f"tenant-{number}" for number in range(240)]
EACH = 30


@pytest.fixture
def five() -> Iterator[list[EchoInstance]]:
    """Five instances that say their names."""
    with ExitStack() as stack:
        yield [stack.enter_context(EchoInstance(name)) for name in "abcde"]


def config(instances: list[EchoInstance], **settings: object) -> dict[str, object]:
    balancer = {"kind": "maglev", "on": "header:X-Tenant"}
    listed = [one.url for one in instances]
    return {"workers": 2, "services": {"shop": {"load_balancer": balancer, "instances": listed, **settings}}}


def places(running: Running) -> dict[str, str]:
    """The instance of each key, over several connections, so that all workers have some."""
    found: list[str] = []
    for start in range(0, len(KEYS), EACH):
        requests = [get("/", f"X-Tenant: {key}") for key in KEYS[start : start + EACH]]
        found += [str(json.loads(answer.body)["instance"]) for answer in answers(running.address, requests)]
    return dict(zip(KEYS, found, strict=True))


def test_a_key_stays_on_its_instance_over_workers_gateways_and_reloads(
    gateway: Start, five: list[EchoInstance]
) -> None:
    running, other = gateway(config(five)), gateway(config(five[::-1]))
    before = places(running)
    assert places(running) == before
    assert places(other) == before
    running.apply(config(five[2:] + five[:2]))
    assert places(running) == before


def test_keys_are_spread_evenly(gateway: Start, five: list[EchoInstance]) -> None:
    counts = Counter(places(gateway(config(five))).values())
    # 48 each are expected: binomial, so that fewer than 18 do not happen once in a million.
    assert set(counts) == set("abcde") and min(counts.values()) > 18


def test_few_keys_move_when_an_instance_is_no_longer_listed(gateway: Start, five: list[EchoInstance]) -> None:
    running = gateway(config(five))
    before = places(running)
    running.apply(config(five[:4]))
    after = places(running)
    needless = [key for key in KEYS if before[key] != "e" and before[key] != after[key]]
    assert set(after.values()) == set("abcd")
    assert len(needless) <= len(KEYS) * 0.04


def test_only_the_keys_of_an_instance_that_is_drained_move_and_they_come_back(
    gateway: Start, five: list[EchoInstance]
) -> None:
    running = gateway(config(five))
    engine = running.gateway.engine
    assert engine is not None
    before = places(running)
    engine.set_draining("shop", five[1].url, True)
    during = places(running)
    assert {key for key in KEYS if before[key] != during[key]} == {key for key in KEYS if before[key] == "b"}
    assert {during[key] for key in KEYS if before[key] == "b"} == set("acde")
    engine.set_draining("shop", five[1].url, False)
    assert places(running) == before


def test_a_request_without_the_key_goes_anywhere(gateway: Start, five: list[EchoInstance]) -> None:
    running = gateway(config(five))
    answered = answers(running.address, [get()] * EACH)
    assert len({str(json.loads(answer.body)["instance"]) for answer in answered}) > 1
