"""Instances from a name server that is really asked; the clock is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.rcode
import pytest

from pylae import ConfigError, Gateway
from pylae.registry import SourceContext
from pylae.registry.sources.dns import DnsDiscovery, DnsSource
from support.names import NameServer


@pytest.fixture
def names() -> Iterator[NameServer]:
    with NameServer() as server:
        yield server


def source(names: NameServer, **settings: Any) -> DnsSource:
    defaults = {"name": "users.test", "port": 8000, "resolvers": [names.address], "timeout": 1}
    found = DnsDiscovery.model_validate({**defaults, **settings})
    return DnsSource(found, SourceContext("users", Path(), found.secure))


def look(source: DnsSource, now: float) -> bool:
    return asyncio.run(source.look(now))


def urls(source: DnsSource) -> list[str]:
    return [instance.url for instance in source.instances]


def test_addresses_of_both_families(names: NameServer) -> None:
    names.put("users.test", "A", "192.0.2.2", "192.0.2.1")
    names.put("users.test", "AAAA", "2001:db8::1")
    one = source(names)
    assert look(one, 0)
    assert urls(one) == ["http://192.0.2.1:8000", "http://192.0.2.2:8000", "http://[2001:db8::1]:8000"]
    assert urls(only := source(names, family="ipv4", scheme="https")) == [] and look(only, 0)
    assert urls(only) == ["https://192.0.2.1:8000", "https://192.0.2.2:8000"]
    assert ("users.test", "AAAA") in names.asked


def test_the_shortest_ttl_says_when_to_look_again(names: NameServer) -> None:
    names.put("users.test", "A", "192.0.2.1", ttl=30)
    names.put("users.test", "AAAA", "2001:db8::1", ttl=20)
    one = source(names)
    assert look(one, 100)
    assert one.due == 120
    names.put("users.test", "AAAA", "2001:db8::2", ttl=40)
    assert look(one, 120)
    assert one.due == 150
    assert not look(one, 150), "the same again is no change"


@pytest.mark.parametrize(("ttl", "due"), [(0, 2), (1, 2), (5, 5), (100, 10)])
def test_the_ttl_has_bounds(names: NameServer, ttl: int, due: float) -> None:
    names.put("users.test", "A", "192.0.2.1", ttl=ttl)
    one = source(names, min_ttl=2, max_ttl=10)
    look(one, 0)
    assert one.due == due


def test_srv_records_of_the_lowest_priority(names: NameServer) -> None:
    names.put("_http._tcp.users.test", "SRV", "10 5 8001 a.test.", "10 0 8002 b.test.", "20 9 8003 c.test.", ttl=50)
    names.put("a.test", "A", "192.0.2.1", "192.0.2.9", ttl=40)
    names.put("b.test", "A", "192.0.2.2")
    names.put("c.test", "A", "192.0.2.3")
    one = source(names, name="_http._tcp.users.test", port=None)
    assert look(one, 0)
    assert [(instance.url, instance.weight) for instance in one.instances] == [
        ("http://192.0.2.1:8001", 5),
        ("http://192.0.2.2:8002", 1),
        ("http://192.0.2.9:8001", 5),
    ]
    assert one.due == 40
    assert ("c.test", "A") not in names.asked
    names.put("_http._tcp.users.test", "SRV", "10 5 8001 a.test.", "10 0 8002 none.test.")
    assert look(one, 40), "a target that is gone is not there"
    assert urls(one) == ["http://192.0.2.1:8001", "http://192.0.2.9:8001"]


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_a_failure_keeps_the_last_good_set(
    names: NameServer, rcode: dns.rcode.Rcode, caplog: pytest.LogCaptureFixture
) -> None:
    names.put("users.test", "A", "192.0.2.1")
    one = source(names, gone_after=1, retry=3)
    look(one, 0)
    names.rcode = rcode
    for now in (60, 63, 10_000):
        assert not look(one, now)
        assert (urls(one), one.due) == (["http://192.0.2.1:8000"], now + 3)
    assert caplog.text.count("users: users.test cannot be looked up") == 1
    names.rcode = None
    names.put("users.test", "A", "192.0.2.2")
    assert look(one, 10_003)
    assert "are known again" in caplog.text


def test_a_name_server_that_is_not_there(names: NameServer) -> None:
    names.put("users.test", "A", "192.0.2.1")
    one = source(names)
    look(one, 0)
    one._resolver.nameservers = []
    assert not look(one, 60)
    assert urls(one) == ["http://192.0.2.1:8000"]


@pytest.mark.parametrize("empty", [True, False])
def test_a_name_that_stops_resolving_leaves_after_a_while(names: NameServer, empty: bool) -> None:
    names.put("users.test", "A", "192.0.2.1")
    one = source(names, gone_after=60, retry=25)
    look(one, 0)
    del names.records["users.test", "A"]
    if empty:
        names.put("users.test", "TXT", "nothing")
    assert [look(one, now) for now in (100, 125, 150)] == [False, False, False]
    assert one.due == 160, "not later than it has to"
    assert urls(one) == ["http://192.0.2.1:8000"]
    assert look(one, 160)
    assert urls(one) == []
    names.put("users.test", "A", "192.0.2.1")
    assert look(one, 185)
    del names.records["users.test", "A"]
    assert not look(one, 245), "the time begins anew"


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("users.test:80", {"name": "users.test", "port": 80}),
        ("_http._tcp.Users.test", {"name": "_http._tcp.users.test"}),
        ({"name": "a", "resolvers": ["192.0.2.1", "192.0.2.1:5", "2001:db8::1", "[2001:db8::1]:5"]}, {}),
    ],
)
def test_short_forms(short: Any, long: dict[str, Any]) -> None:
    found = DnsDiscovery.model_validate(short)
    if long:
        assert found == DnsDiscovery.model_validate(long)
    else:
        assert found.resolvers == ("192.0.2.1:53", "192.0.2.1:5", "[2001:db8::1]:53", "[2001:db8::1]:5")


@pytest.mark.parametrize(
    ("discovery", "words"),
    [
        ({}, "exactly one of"),
        ({"dns": "a:1", "file": "x"}, "exactly one of"),
        ({"dns": "a b"}, "not a domain name"),
        ({"dns": {"name": "a", "resolvers": ["names.test"]}}, "an IP address, not a name"),
        ({"heartbeat": {"max_instances": 5000}}, "4096"),
    ],
)
def test_settings_that_are_refused(discovery: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Gateway(services={"a": {"discovery": discovery}})
