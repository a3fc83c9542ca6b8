"""What several nodes know of registrations, over the script of a real store; the clock is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pylae import RegistryError
from pylae.config.models.instance import Instance
from pylae.errors import OwnedError
from pylae.registry import SourceContext, registrations
from pylae.registry.registrations import Owner
from pylae.registry.sharing import RegistryStore
from pylae.registry.source import authority
from pylae.registry.sources import heartbeat
from pylae.registry.sources.heartbeat import HeartbeatDiscovery, HeartbeatSource, share
from support.valkey import Valkey

SCRIPT = (Path(__file__).parents[3] / "crates/proxy/src/store/call/registrations.lua").read_text()
BEGIN = 1_795_000_000.0
A, B, C = (Instance(url=f"http://192.0.2.{number}:80") for number in (1, 2, 3))


def name(instance: Instance) -> str:
    return authority(instance.url)


class Time:
    def __init__(self) -> None:
        self.now = 0.0


class Script:
    """Runs the script with the test's time."""

    def __init__(self, server: Valkey, time: Time) -> None:
        self.server, self.time = server, time
        self.cut = False
        self.offset = 0.0
        """By how much the store's clock has been set."""

    def run(self, script: str, calls: list[tuple[bytes, list[bytes]]]) -> list[Any]:
        assert script == "registrations"
        if self.cut:
            return ["the store is not available"] * len(calls)
        seconds, rest = divmod(BEGIN + self.time.now + self.offset, 1)
        source = SCRIPT.replace("redis.call('TIME')", f"{{{seconds:.0f}, {rest * 1e6:.0f}}}")
        assert source != SCRIPT
        return [self.server.ask("EVAL", source, 1, key, *arguments) for key, arguments in calls]


class Node:
    """One gateway's registrations of a service."""

    def __init__(self, server: Valkey, time: Time, *, secure: bool = False, **configured: Any) -> None:
        self.time, self.way, self.store = time, Script(server, time), RegistryStore()
        self.store.attach(self.way)
        settings = HeartbeatDiscovery(**{"ttl": 10, **configured})
        self.source = HeartbeatSource(settings, SourceContext("users", Path(), secure, self.store))

    def register(self, instance: Instance, ttl: float | None = None) -> None:
        self.source.register(instance, ttl, self.time.now)

    def beat(self, instance: Instance) -> bool:
        return self.source.beat(name(instance), self.time.now) is not None

    def remove(self, instance: Instance) -> bool:
        return self.source.remove(name(instance), self.time.now)

    def share(self) -> None:
        share(self.store, [self.source], lambda: self.time.now)

    def look(self) -> None:
        asyncio.run(self.source.look(self.time.now))

    @property
    def urls(self) -> list[str]:
        return [instance.url for instance in self.source.instances]


class Nodes:
    """Several nodes, each of which asks every second."""

    def __init__(self, server: Valkey, number: int = 2, **configured: Any) -> None:
        server.ask("FLUSHALL")
        self.server, self.time = server, Time()
        self.all = [Node(server, self.time, **configured) for _ in range(number)]

    def wait(self, seconds: float) -> None:
        end = self.time.now + seconds
        while self.time.now < end:
            self.time.now = min(end, self.time.now + 1)
            for node in self.all:
                node.look()
                node.share()

    def share(self) -> None:
        """Each has told and been told."""
        for _ in range(2):
            self.time.now += 0.01
            for node in self.all:
                node.share()

    @property
    def urls(self) -> list[list[str]]:
        return [node.urls for node in self.all]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("store")) as running:
        yield running


def test_what_one_node_hears_all_know(server: Valkey) -> None:
    nodes = Nodes(server)
    one, two = nodes.all
    one.register(A)
    two.register(B)
    nodes.share()
    assert nodes.urls == [[A.url, B.url]] * 2
    two.register(Instance(url=A.url, weight=3))
    nodes.share()
    assert [instance.weight for instance in one.source.instances] == [3, 1]
    assert two.remove(A)
    nodes.share()
    assert nodes.urls == [[B.url]] * 2
    assert not one.beat(A), "it must register anew"


def test_the_store_decides_when_one_leaves(server: Valkey) -> None:
    nodes = Nodes(server)
    one, two = nodes.all
    one.register(A)
    one.register(B, 3)
    nodes.share()
    for _ in range(6):
        nodes.wait(4)
        # Now here, now there.
        assert one.beat(A)
        one, two = two, one
    assert nodes.urls == [[A.url]] * 2
    nodes.wait(12)
    assert nodes.urls == [[], []]


def test_room_is_for_all_nodes(server: Valkey) -> None:
    nodes = Nodes(server, max_instances=1)
    one, two = nodes.all
    one.register(A)
    two.register(B)
    nodes.share()
    assert nodes.urls == [[A.url]] * 2
    assert not two.beat(B)
    with pytest.raises(RegistryError, match="has 1 registered"):
        two.register(B)


def test_without_the_store_nothing_leaves_that_others_know(server: Valkey) -> None:
    nodes = Nodes(server)
    one, two = nodes.all
    one.register(A)
    nodes.share()
    for node in nodes.all:
        node.way.cut = True
    two.register(B, 2)
    two.register(C, 30)
    nodes.wait(25)
    assert nodes.urls == [[A.url], [A.url, C.url]]
    assert two.source.trouble == (
        "what other nodes know of registrations cannot be read: the store does not answer; "
        "its instances stay as they are"
    )
    for node in nodes.all:
        node.way.cut = False
    nodes.share()
    assert nodes.urls == [[A.url, C.url]] * 2, "while nobody could ask, no beat could be passed on"
    assert two.source.trouble is None
    nodes.wait(4)
    assert one.beat(A)
    nodes.wait(9)
    assert nodes.urls == [[A.url]] * 2


def test_a_node_that_was_cut_off_does_not_bring_back_what_was_removed(server: Valkey) -> None:
    nodes = Nodes(server)
    one, two = nodes.all
    for instance in (A, B, C):
        one.register(instance, 60)
    nodes.share()
    two.way.cut = True
    assert two.beat(B), "before it was removed"
    nodes.time.now += 0.5
    assert one.remove(A)
    assert one.remove(B)
    nodes.wait(2)
    assert two.urls == [A.url, B.url, C.url]
    assert two.remove(C)
    two.way.cut = False
    nodes.share()
    assert nodes.urls == [[], []]
    two.register(B, 60)
    nodes.share()
    assert nodes.urls == [[B.url]] * 2


def test_a_beat_does_not_bring_back_what_was_removed(server: Valkey) -> None:
    nodes = Nodes(server)
    one, two = nodes.all
    one.register(A)
    nodes.share()
    two.way.cut = True
    two.register(A)
    nodes.time.now += 0.5
    assert one.remove(A)
    one.share()
    nodes.time.now += 0.5
    assert two.beat(A), "it has not heard of that"
    two.way.cut = False
    nodes.share()
    assert nodes.urls == [[], []]
    two.register(A)
    nodes.share()
    assert nodes.urls == [[A.url]] * 2


def test_what_the_store_forgets_nodes_tell_it_again(server: Valkey) -> None:
    nodes = Nodes(server, 3)
    one, two, three = nodes.all
    one.register(A)
    two.register(B, 60)
    nodes.share()
    nodes.wait(8)
    server.ask("FLUSHALL")
    assert three.remove(B)
    nodes.share()
    assert nodes.urls == [[A.url]] * 3, "what was removed stays so"
    nodes.wait(9)
    assert nodes.urls == [[A.url]] * 3, "nobody knows when it has beaten last"
    nodes.wait(2)
    assert nodes.urls == [[]] * 3


def test_a_key_that_is_none_is_replaced(server: Valkey) -> None:
    nodes = Nodes(server)
    nodes.all[0].register(A)
    nodes.share()
    for words in (("SET", "users", "x"), ("HSET", "users", "", "x", "y", "z"), ("HSET", "users", "y", "z")):
        if words[0] == "SET" or words[2] == "":
            server.ask("DEL", "users")
        server.ask(*words)
        nodes.wait(2)
        nodes.share()
        assert nodes.urls == [[A.url]] * 2


def test_each_node_takes_what_its_own_settings_allow(server: Valkey) -> None:
    nodes = Nodes(server)
    other = Node(server, nodes.time, secure=True)
    tls = Instance(url="https://192.0.2.9:443")
    other.register(tls)
    other.register(A)
    other.share()
    nodes.share()
    assert nodes.urls == [[A.url]] * 2
    assert "https://" in (nodes.all[0].source.trouble or "")
    assert other.remove(tls)
    other.share()
    nodes.share()
    assert nodes.all[0].source.trouble is None
    narrow = Node(server, nodes.time, max_instances=1, max_ttl=2, ttl=1)
    other.register(B)
    other.share()
    narrow.share()
    assert narrow.urls == [A.url]
    assert (narrow.source.get(name(A)) or pytest.fail()).ttl == 2
    assert narrow.source.trouble == (
        "instances that other nodes know are left out: there are more than 1; the others are used"
    )


ROWS = ([], [b"x"], [b"x", 1, 1, b"1 http://y:1"], [b"y:1", 1, 1, b"0 http://y:1"], [b"y:1", 1, 0, b"1 http://y:1"])


@pytest.mark.parametrize("answer", [None, 5, [], [b"x y", 1, None], [b"ab", b"1", None], [b"ab", 1, 5], "no"])
def test_an_answer_is_checked(server: Valkey, answer: Any) -> None:
    node = Node(server, Time())
    node.register(A)
    assert not node.source.answered(answer, [], 0)
    assert node.urls == [A.url]
    assert node.source.question(node.store, 0)[1] != []


def test_a_registration_of_an_answer_is_checked(server: Valkey) -> None:
    node = Node(server, Time())
    good = [b"192.0.2.1:80", 1000, 1000, b"1 http://192.0.2.1:80"]
    assert node.source.answered([b"ab", 1, [*ROWS, [b"\xff:1", 1, 1, b"1 http://\xff:1"], good]], [], 0)
    assert node.urls == [A.url]
    assert "they cannot be read" in (node.source.trouble or "")


def test_all_nodes_know_whose_a_registration_is(server: Valkey) -> None:
    nodes = Nodes(server)
    one, two = nodes.all
    living = {"first", "second"}
    first, second = (Owner(name, 1, living.__contains__) for name in ("first", "second"))
    one.source.register(A, None, 0, first)
    nodes.share()
    assert (two.source.get(name(A)) or pytest.fail()).owner == "first"
    for act in (
        lambda: two.source.register(A, None, nodes.time.now, second),
        lambda: two.source.beat(name(A), nodes.time.now, second),
        lambda: two.source.remove(name(A), nodes.time.now, second),
    ):
        with pytest.raises(OwnedError):
            act()
    with pytest.raises(RegistryError, match="may not register more"):
        two.source.register(B, None, nodes.time.now, first)
    assert two.source.beat(name(A), nodes.time.now, first)
    nodes.wait(2)
    assert [(node.source.get(name(A)) or pytest.fail()).owner for node in nodes.all] == ["first", "first"]
    # Who is no more owns nothing.
    living.remove("first")
    assert two.source.beat(name(A), nodes.time.now, second) is None
    two.source.register(A, None, nodes.time.now, second)
    nodes.wait(2)
    assert (one.source.get(name(A)) or pytest.fail()).owner == "second"
    kept = one.source.kept(nodes.time.now, BEGIN)
    again = Node(server, nodes.time)
    again.source.restore(kept, nodes.time.now, BEGIN)
    assert (again.source.get(name(A)) or pytest.fail()).owner == "second"
    wrong = [b"192.0.2.3:80", 1000, 1000, b"1 http://192.0.2.3:80 No_Id"]
    assert not one.source.answered([b"ab", 99, [wrong]], [], nodes.time.now) or one.urls == []
    assert "they cannot be read" in (one.source.trouble or "")


def test_registrations_outlive_a_restart(server: Valkey) -> None:
    nodes = Nodes(server)
    one, two = nodes.all
    one.register(A)
    nodes.share()
    two.way.cut = True
    two.register(B)
    two.beat(A)
    kept = two.source.kept(nodes.time.now, 1000 + nodes.time.now)
    assert one.remove(A)
    one.share()
    again = Node(server, nodes.time)
    again.source.restore(kept, nodes.time.now, 1000 + nodes.time.now)
    assert again.urls == [A.url, B.url], "until the store answers"
    nodes.all[1] = again
    nodes.share()
    assert nodes.urls == [[B.url]] * 2
    server.ask("FLUSHALL")
    kept = again.source.kept(nodes.time.now, 1000 + nodes.time.now)
    last = Node(server, nodes.time)
    last.source.restore(kept, nodes.time.now, 1000 + nodes.time.now)
    nodes.all = [last]
    nodes.share()
    assert nodes.urls == [[B.url]], "the store has forgotten it"


STEP = st.one_of(
    st.tuples(st.just("register"), st.integers(0, 2), st.sampled_from([A, B, C]), st.sampled_from([2, 10])),
    st.tuples(st.just("beat"), st.integers(0, 2), st.sampled_from([A, B, C])),
    st.tuples(st.just("remove"), st.integers(0, 2), st.sampled_from([A, B, C])),
    st.tuples(st.just("wait"), st.sampled_from([0.05, 0.5, 3.0])),
    st.tuples(st.just("share"), st.integers(0, 2)),
)
FAULT = st.one_of(
    st.tuples(st.just("cut"), st.integers(0, 2)),
    st.tuples(st.just("mend"), st.integers(0, 2)),
    st.tuples(st.just("flush")),
)


def _do(nodes: Nodes, step: tuple[Any, ...]) -> None:
    match step:
        case ("register", int() as number, Instance() as instance, ttl):
            nodes.all[number].register(instance, ttl)
        case ("beat" | "remove" as what, int() as number, instance):
            getattr(nodes.all[number], what)(instance)
        case ("wait", float() as seconds):
            nodes.wait(seconds)
        case ("share", int() as number):
            nodes.all[number].share()
        case ("flush",):
            nodes.server.ask("FLUSHALL")
        case (what, int() as number):
            nodes.all[number].way.cut = what == "cut"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(STEP, STEP, STEP, FAULT), max_size=40))
def test_whatever_happens_all_nodes_agree_in_the_end(server: Valkey, steps: list[tuple[Any, ...]]) -> None:
    nodes = Nodes(server, 3)
    for step in steps:
        _do(nodes, step)
    for node in nodes.all:
        node.way.cut = False
    nodes.share()
    nodes.share()
    first, *others = nodes.urls
    assert others == [first, first]
    assert not any(node.source.question(node.store, nodes.time.now)[1] for node in nodes.all)
    nodes.wait(11)
    assert nodes.urls == [[]] * 3


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, max_size=40))
def test_the_last_operation_counts_on_whichever_node_it_was(server: Valkey, steps: list[tuple[Any, ...]]) -> None:
    nodes = Nodes(server, 3)
    ends: dict[str, tuple[float, float]] = {}
    for step in steps:
        match step:
            case ("register", _, instance, ttl):
                ends[instance.url] = nodes.time.now + ttl, ttl
            case ("beat", _, instance) if instance.url in ends:
                ttl = ends[instance.url][1]
                ends[instance.url] = nodes.time.now + ttl, ttl
            case ("remove", _, instance):
                ends.pop(instance.url, None)
        _do(nodes, step)
        nodes.share()
        # Within these milliseconds either is right.
        sure = {url for url, (end, _) in ends.items() if end > nodes.time.now + 0.03}
        perhaps = {url for url, (end, _) in ends.items() if end > nodes.time.now - 0.03}
        for urls in nodes.urls:
            assert sure <= set(urls) <= perhaps
        ends = {url: end for url, end in ends.items() if url in nodes.urls[0]}


def test_many_beats_are_told_in_several_turns(server: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (heartbeat, registrations):
        monkeypatch.setattr(module, "MOST_TOLD", 2)
    nodes = Nodes(server)
    one, two = nodes.all
    for instance in (A, B, C):
        one.register(instance)
    one.share()
    assert one.source.is_behind
    one.share()
    assert not one.source.is_behind
    two.share()
    assert two.urls == one.urls == [A.url, B.url, C.url]


@pytest.mark.parametrize("step", [3600, 60, -60, -3600])
def test_nobody_leaves_or_stays_for_a_clock_that_is_set(server: Valkey, step: float) -> None:
    nodes = Nodes(server)
    one, two = nodes.all
    one.register(A)
    one.register(B)
    nodes.share()
    nodes.wait(5)
    for node in nodes.all:
        node.way.offset = step
    nodes.wait(3)
    assert nodes.urls == [[A.url, B.url]] * 2
    assert two.beat(A)
    assert one.remove(B)
    nodes.wait(9)
    assert nodes.urls == [[A.url]] * 2
    nodes.wait(3)
    assert nodes.urls == [[]] * 2
