"""What sources do with answers of the store. It is taken for something that a stranger may have written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pylae.registry import Source, SourceContext
from pylae.registry.sharing import RegistryStore
from pylae.registry.sources.dns import DnsDiscovery, DnsSource
from pylae.registry.sources.file import FileDiscovery, FileSource
from support.names import NameServer

OWN = "http://192.0.2.1:8000"
OTHER = "http://192.0.2.2:8000"


class Script:
    """Answers with what it is told, and then with 0; keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[list[bytes]] = []

    def run(self, _script: str, calls: list[tuple[bytes, list[bytes]]]) -> list[Any]:
        self.asked += (arguments for _, arguments in calls)
        return [self.answers.pop(0) if self.answers else 0 for _ in calls]


@pytest.fixture
def store() -> Iterator[RegistryStore]:
    made = RegistryStore()
    yield made
    made.close()


@pytest.fixture
def names() -> Iterator[NameServer]:
    with NameServer() as server:
        server.put("users.test", "A", "192.0.2.1", ttl=30)
        yield server


def by_dns(names: NameServer, store: RegistryStore, **settings: Any) -> DnsSource:
    given = {"name": "users.test", "port": 8000, "resolvers": [names.address], "family": "ipv4", **settings}
    return DnsSource(DnsDiscovery.model_validate(given), SourceContext("users", Path(), False, store))


def by_file(folder: Path, store: RegistryStore, **settings: Any) -> FileSource:
    given = FileDiscovery.model_validate({"path": "users.json", "scope": "cluster", **settings})
    return FileSource(given, SourceContext("users", folder, False, store))


def look(source: Source[Any], now: float = 0) -> bool:
    return asyncio.run(source.look(now))


def urls(source: Source[Any]) -> list[str]:
    return [instance.url for instance in source.instances]


def found(*listed: str, **further: Any) -> bytes:
    return json.dumps({"instances": [{"url": url} for url in listed], **further}).encode()


def test_what_another_node_has_looked_up_is_taken(names: NameServer, store: RegistryStore) -> None:
    script = Script(2, [1, 12_000, found(OTHER)], [1, 9, b'{"gone": "there is no name users.test"}'])
    store.attach(script)
    source = by_dns(names, store, gone_after=0)
    assert look(source)
    assert (urls(source), names.asked) == ([OTHER], [])
    assert source.due == pytest.approx(12.2, abs=1), "it has waited for the other node"
    assert look(source)
    assert urls(source) == []
    assert source.trouble == "there is no name users.test; it has no instances from there any more"
    assert look(source)
    assert urls(source) == [OWN], "it was its turn"
    assert script.asked[-1][0] == b"tell"
    assert json.loads(script.asked[-1][3]) == {"instances": [{"url": OWN}]}


STRANGE = [
    *("the store does not answer", None, 7, [], [1], [1, 5, None], [1, b"5", found(OTHER)]),
    *([1, 5, b""], [1, 5, b"[]"], [1, 5, b"{}"], [1, 5, found(OTHER, other=1)], [1, 5, b'{"gone": "a\\nb"}']),
    *([1, 5, found("http://192.0.2.2:9")], [1, 5, found("https://192.0.2.2:8000")], [1, 5, found("ftp://x")]),
    [1, 5, found(*(f"http://192.0.2.2:{port}" for port in range(1, 4099)))],
]


@pytest.mark.parametrize("answer", STRANGE)
def test_a_node_looks_itself_if_that_cannot_be_what_another_has_found(
    names: NameServer, store: RegistryStore, answer: Any
) -> None:
    store.attach(Script(answer))
    source = by_dns(names, store)
    assert look(source)
    assert urls(source) == [OWN]


def test_another_node_may_look_if_this_one_fails(names: NameServer, store: RegistryStore) -> None:
    import dns.rcode

    script = Script()
    store.attach(script)
    names.rcode = dns.rcode.SERVFAIL
    assert not look(by_dns(names, store))
    assert [asked[0] for asked in script.asked] == [b"ask", b"fail"]


MARK = b"a" * 64


def test_a_later_file_of_another_node_is_taken(store: RegistryStore, tmp_path: Path) -> None:
    later = b"9" * 17
    script = Script([later, MARK, json.dumps([OTHER]).encode()])
    store.attach(script)
    (tmp_path / "users.json").write_text(json.dumps({"users": [OWN]}))
    source = by_file(tmp_path, store)
    assert look(source)
    assert urls(source) == [OTHER]
    assert not look(source)
    assert script.asked[-1] == [later, MARK, b""]


STRANGE_FILES = [
    *([b"1", MARK, b"5"], [b"1", MARK, b'["ftp://x"]'], [b"x", MARK, b"[]"], [b"1", b"x", b"[]"]),
    [b"1", MARK, json.dumps([f"http://192.0.2.2:{port}" for port in range(1, 4099)]).encode()],
]


@pytest.mark.parametrize("answer", STRANGE_FILES)
def test_what_cannot_be_a_file_is_reported(store: RegistryStore, tmp_path: Path, answer: Any) -> None:
    store.attach(Script(answer))
    (tmp_path / "users.json").write_text(json.dumps({"users": [OWN]}))
    source = by_file(tmp_path, store)
    assert look(source)
    assert urls(source) == [OWN]
    assert "what other nodes know of the file cannot be read" in (source.trouble or "")
    assert not look(source)
    assert source.trouble is None


def test_the_content_of_a_file_is_told_if_it_is_asked_for(store: RegistryStore, tmp_path: Path) -> None:
    script = Script(2, 0, *["the store is not available"] * 3)
    store.attach(script)
    (tmp_path / "users.json").write_text(json.dumps({"users": [OWN]}))
    source = by_file(tmp_path, store)
    assert look(source)
    assert [json.loads(asked[2]) if asked[2] else None for asked in script.asked] == [
        None,
        [{"url": OWN, "weight": 1}],
    ]
    look(source, 2)
    assert source.trouble is None, "not for a moment"
    look(source, 5)
    assert (
        source.trouble
        == "what other nodes know of the file cannot be read: the store does not answer; the others are used"
    )


def test_a_node_without_the_file_has_that_of_others(store: RegistryStore, tmp_path: Path) -> None:
    source = by_file(tmp_path, store)
    assert not look(source)
    assert source.trouble is None, "another node may have it"
    store.attach(Script(0, [b"5", MARK, json.dumps([OTHER]).encode()]))
    assert not look(source)
    assert "cannot be read (No such file" in (source.trouble or "")
    assert look(source)
    assert (urls(source), source.trouble) == ([OTHER], None)
