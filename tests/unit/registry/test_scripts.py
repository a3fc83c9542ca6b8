"""The scripts of look-ups and files, on a real store; the clock is the test's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.valkey import Valkey

SCRIPTS = Path(__file__).parents[3] / "crates/proxy/src/store/call"
LOOKUP, LATEST = ((SCRIPTS / f"{name}.lua").read_text() for name in ("lookup", "latest"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture
def server(running: Valkey) -> Valkey:
    running.ask("FLUSHALL")
    return running


def lookup(server: Valkey, now: int, asked: str, who: str, span: int, data: str = "") -> object:
    script = LOOKUP.replace("redis.call('TIME')", f"{{{1_795_000_000 + now // 1000}, {now % 1000 * 1000}}}")
    return server.ask("EVAL", script, 1, "k", asked, who, span, data)


def test_one_node_looks_for_all(server: Valkey) -> None:
    assert lookup(server, 0, "ask", "a", 60_000) == 0
    assert lookup(server, 1, "ask", "b", 60_000) == 2
    assert lookup(server, 2, "ask", "a", 60_000) == 0, "it may ask again"
    assert lookup(server, 10, "tell", "a", 60_000, "found it") == 0
    assert lookup(server, 20, "ask", "b", 60_000) == [1, 59_990, b"found it"]
    assert lookup(server, 60_010, "ask", "b", 60_000) == 0
    assert lookup(server, 60_011, "ask", "a", 60_000) == 2


def test_another_node_looks_if_one_fails_or_dies(server: Valkey) -> None:
    assert lookup(server, 0, "ask", "a", 60_000) == 0
    assert lookup(server, 1, "fail", "b", 1) == 0, "it has nothing to give up"
    assert lookup(server, 2, "ask", "b", 60_000) == 2
    assert lookup(server, 3, "fail", "a", 1) == 0
    assert lookup(server, 4, "ask", "b", 60_000) == 0
    assert lookup(server, 60_004, "ask", "a", 60_000) == 0


def test_what_a_clock_said_that_was_ahead_does_not_count(server: Valkey) -> None:
    lookup(server, 600_000, "tell", "a", 60_000, "found it")
    assert lookup(server, 0, "ask", "b", 60_000) == 0
    assert lookup(server, 1, "ask", "a", 60_000) == 2


@pytest.mark.parametrize(
    "words", [("SET", "k", "x"), ("SET", "k", ""), ("HSET", "k", "a", "b"), ("RPUSH", "k", "f a 1 2 x")]
)
def test_a_key_that_is_none_is_replaced(server: Valkey, words: tuple[str, ...]) -> None:
    server.ask(*words)
    assert lookup(server, 0, "ask", "a", 60_000) == 0
    lookup(server, 0, "tell", "a", 60_000, "x")
    assert lookup(server, 0, "ask", "b", 60_000) == [1, 60_000, b"x"]
    server.ask("DEL", "k")
    server.ask(*words)
    assert latest(server, 5, "ab") == 2
    assert latest(server, 5, "ab", "x") == 0
    assert latest(server, 4, "ab") == [b"5", b"ab", b"x"]


def latest(server: Valkey, modified: int, digest: str, content: str = "") -> object:
    return server.ask("EVAL", LATEST, 1, "k", modified, digest, content)


def test_the_file_that_was_modified_last_counts(server: Valkey) -> None:
    newest = 1_795_000_000_123_456
    assert latest(server, 0, "0") == 0, "nobody has one"
    assert latest(server, newest - 1, "ff") == 2
    assert latest(server, newest - 1, "ff", "old") == 0
    assert latest(server, newest - 1, "ff") == 0
    assert latest(server, newest, "aa", "[1]") == 0
    for mark in ((0, "0"), (newest - 1, "ff"), (newest, "a9")):
        assert latest(server, *mark) == [str(newest).encode(), b"aa", b"[1]"]
    assert latest(server, newest, "ab") == 2, "of two with the same time, one for all"
    lasts = server.ask("PTTL", "k")
    assert isinstance(lasts, int)
    assert lasts > 600_000_000
