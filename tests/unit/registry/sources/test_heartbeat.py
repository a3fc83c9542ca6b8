from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pylae import RegistryError
from pylae.config.models.instance import Instance
from pylae.registry import SourceContext
from pylae.registry.sources.heartbeat import HeartbeatDiscovery, HeartbeatSource


def source(**settings: Any) -> HeartbeatSource:
    return HeartbeatSource(HeartbeatDiscovery(**settings), SourceContext("users", Path(), False))


def look(source: HeartbeatSource, now: float) -> bool:
    return asyncio.run(source.look(now))


def urls(source: HeartbeatSource) -> list[str]:
    return [instance.url for instance in source.instances]


A, B = Instance(url="http://192.0.2.1:80"), Instance(url="http://192.0.2.2:80")


def test_an_instance_that_stops_beating_leaves_when_its_time_is_over() -> None:
    one = source(ttl=10)
    assert one.register(A, None, 0)[1]
    assert one.register(B, 4, 0)[0].ttl == 4
    assert one.due == 4
    assert one.beat("192.0.2.2:80", 3)
    assert not look(one, 4), "it has beaten"
    assert one.due == 7
    assert look(one, 7)
    assert urls(one) == [A.url]
    assert one.beat("192.0.2.2:80", 7) is None, "it must register anew"
    assert look(one, 10)
    assert (urls(one), one.due) == ([], float("inf"))


def test_registering_again_is_a_beat_and_no_change() -> None:
    one = source(ttl=10)
    one.register(A, None, 0)
    assert not one.register(A, None, 9)[1]
    assert not look(one, 10)
    assert one.register(Instance(url=A.url, weight=3), None, 11)[1]
    assert one.instances[0].weight == 3
    assert one.remove("192.0.2.1:80", 12)
    assert not one.remove("192.0.2.1:80", 12)


def test_there_is_room_for_so_many() -> None:
    one = source(max_instances=1)
    one.register(A, None, 0)
    one.register(A, None, 1)
    with pytest.raises(RegistryError, match="has 1 registered"):
        one.register(B, None, 1)


@pytest.mark.parametrize("ttl", [0, -1, 61])
def test_a_ttl_has_bounds(ttl: float) -> None:
    with pytest.raises(RegistryError, match="at most 60 seconds"):
        source(max_ttl=60).register(A, ttl, 0)


def test_tls_takes_a_service_that_speaks_it() -> None:
    with pytest.raises(RegistryError, match="speaks no TLS"):
        source().register(Instance(url="https://192.0.2.1:443"), None, 0)


def test_a_gateway_that_stood_still_lets_nobody_go_for_it() -> None:
    one = source(ttl=10)
    one.register(A, None, 0)
    assert not look(one, 500), "beats of that time have not been read yet"
    assert one.due == 510
    assert look(one, 510)


def test_registrations_outlive_a_restart_until_their_time_is_over() -> None:
    one = source(ttl=10)
    one.register(A, None, 100)
    one.register(B, 30, 100)
    kept = one.kept(105, 5_000_005)
    again = source(ttl=10)
    again.restore(kept, 7, 5_000_012)
    assert urls(again) == [B.url], "the other's time ended while nothing ran"
    assert again.due == 7 + 18
    later = source(ttl=10)
    later.restore([{**kept[1], "until": 9e12}], 0, 5_000_012)
    assert later.due == 30, "whatever the clock was set to"
    bounded = source(max_instances=1)
    bounded.restore(one.kept(100, 0), 0, 0)
    assert len(bounded.instances) == 1
