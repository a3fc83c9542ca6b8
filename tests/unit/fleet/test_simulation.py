"""Roll-outs in a simulated fleet: nodes, coordinators and the store fail at every step, in any order."""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from pylae.errors import ConfigError, ConflictError, Problem, StoreError, StoreUnavailableError
from pylae.fleet import head
from pylae.fleet.figures import Figures
from pylae.fleet.follower import Follower, Self
from pylae.fleet.member import Member
from pylae.fleet.records import NODES, ROLLOUT, NodeName, Rollout, read
from pylae.fleet.rollouts import begun, cancel, present
from support.memory_store import Data, MemoryStore

SEEDS = range(100)
MANY = range(100, 3000)


@dataclass
class World:
    """What really happens, whoever knows of it."""

    random: random.Random
    now: float = 1000.0
    bad: set[int] = field(default_factory=set)
    """Configurations that answer with errors."""
    refused: set[int] = field(default_factory=set)
    """Configurations that no node can use."""
    acknowledged: list[int] = field(default_factory=list)
    """Roll-outs that somebody was told have begun."""
    fault: str = ""
    heads: list[int] = field(default_factory=list)

    def clock(self) -> float:
        """The time."""
        return self.now

    def fail(self, when: str) -> None:
        """Is the store's fault, before or after it has made a change."""
        if self.fault == when:
            self.fault = ""
            raise StoreUnavailableError(f"the connection was lost {when} the change")


class Node:
    """A node: its process may end at any moment, and another one begin in its place."""

    def __init__(self, world: World, data: Data, number: int, copies: dict[int, int]) -> None:
        self.world, self.number, self.copies = world, number, copies
        self.id = f"{world.random.getrandbits(64):016x}"
        self.in_force = copies.get(number, 0)
        self.had: list[int] = []
        self.requests = self.errors = 0
        self.store = MemoryStore(data, world.fail)
        self.member = Member(self.id, self, self.in_force, world.clock)
        me = Self(NodeName(id=self.id, name=f"node-{number}"), "1", datetime.now(UTC))
        self.follower = Follower(self.store, me, self.member, self.figures, clock=world.clock)

    def figures(self, _durations: bool) -> Figures:
        return Figures(self.requests, self.errors)

    def lately(self, _window: float) -> Figures:
        return Figures(1000, 0)

    def check(self, number: int) -> None:
        # To know what it is, the store is asked.
        self.store.get(head.KEY)
        if number in self.world.refused:
            raise ConfigError([Problem(None, None, None, "routes", "is not possible")])

    def apply(self, number: int, *, keep: bool) -> None:
        self.check(number)
        self.in_force = number
        self.had.append(number)
        if keep:
            self.keep(number)

    def keep(self, number: int) -> None:
        self.copies[self.number] = number

    def serve(self) -> None:
        """Clients send requests."""
        self.requests += 40
        self.errors += 10 if self.in_force in self.world.bad else 0

    def step(self) -> None:
        """What the thread of a node does."""
        try:
            found = self.follower.step()
        except StoreError:
            return
        if (job := self.member.step(found.head.number, found.rollout)) is not None:
            job()


class Fleet:
    """Some nodes, a store, and a person."""

    def __init__(self, seed: int, nodes: int = 3) -> None:
        self.world = World(random.Random(seed))
        self.data = Data(self.world.clock)
        self.person = MemoryStore(self.data, self.world.fail)
        self.copies: dict[int, int] = {}
        self.nodes = {number: self.start(number) for number in range(nodes)}
        self.last = 0
        self.ended: dict[int, str] = {}

    def start(self, number: int) -> Node:
        return Node(self.world, self.data, number, self.copies)

    def apply(self, *, bad: bool = False, refused: bool = False, now: bool = False) -> None:
        """A person sends a configuration."""
        number = self.last + 1
        try:
            before = present(self.person)
            rollout = Rollout(
                number=number, previous=before.head.number, author="somebody", started=datetime.now(UTC),
                observe=5.0, max_errors=0.01, min_requests=100, now=now,
            )  # fmt: skip
            changes, compares = begun(before, rollout)
            if self.person.txn(compares, changes) is None:
                return
        except ConflictError:
            return
        except StoreError:
            found = self.data.pairs.get(ROLLOUT)
            if found is None or read(Rollout, ROLLOUT, found.value).number != number:
                return
        else:
            self.world.acknowledged.append(number)
        self.last = number
        self.world.bad |= {number} if bad else set()
        self.world.refused |= {number} if refused else set()

    def pass_time(self) -> None:
        """A second passes: clients send requests, and each node that lives does a step, in any order."""
        self.world.now += 1
        for node in self.nodes.values():
            node.serve()
        for node in self.world.random.sample(list(self.nodes.values()), len(self.nodes)):
            node.step()
            self.look()

    def rollout(self) -> Rollout | None:
        """The latest roll-out, whether the store answers or not."""
        found = self.data.pairs.get(ROLLOUT)
        return read(Rollout, ROLLOUT, found.value) if found else None

    @property
    def latest(self) -> Rollout:
        """The latest roll-out, which there is."""
        found = self.rollout()
        assert found is not None
        return found

    @property
    def head(self) -> int:
        """The head, in the same way."""
        found = self.data.pairs.get(head.KEY)
        return int(found.value.rpartition(b":")[2].strip(b" }")) if found else 0

    def look(self) -> None:
        """What must hold at every moment."""
        rollout, now = self.rollout(), self.head
        if not self.world.heads or self.world.heads[-1] != now:
            self.world.heads.append(now)
        assert self.world.heads == sorted(set(self.world.heads)), "a head came back"
        if rollout is not None and rollout.is_over:
            known = self.ended.setdefault(rollout.number, rollout.stage)
            assert known == rollout.stage, "a roll-out has ended twice"
            assert (rollout.stage == "done") == (now == rollout.number)
        for number, stage in self.ended.items():
            assert stage == "done" or number not in self.world.heads, "what was taken back has become the head"
        for number in self.world.bad:
            having = [node.number for node in self.nodes.values() if number in node.had]
            assert len(having) <= 1, "others have seen a bad configuration"
        for number in self.world.refused:
            assert not any(number in node.had for node in self.nodes.values())

    def settle(self) -> None:
        """Everything works again, and time passes."""
        self.data.away = False
        self.world.fault = ""
        for number in range(3):
            self.nodes.setdefault(number, self.start(number))
        for _ in range(60):
            self.pass_time()


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_fails_all_nodes_agree_in_the_end(seed: int) -> None:
    simulate(seed)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_whatever_fails_all_nodes_agree_in_the_end_with_many_seeds() -> None:
    for seed in MANY:
        simulate(seed)


def simulate(seed: int) -> None:
    """A fleet in which things fail at random, and a look at what has become of it."""
    fleet = Fleet(seed)
    chance = fleet.world.random
    for _ in range(150):
        event = chance.random()
        if event < 0.10:
            # A bad one that nobody was to observe would become what others are compared with.
            now = chance.random() < 0.1
            fleet.apply(bad=not now and chance.random() < 0.4, refused=chance.random() < 0.2, now=now)
        elif event < 0.16 and fleet.nodes:
            # Killed: nobody is told. Its lease ends later.
            fleet.nodes.pop(chance.choice(list(fleet.nodes)))
        elif event < 0.24:
            number = chance.randrange(3)
            fleet.nodes.setdefault(number, fleet.start(number))
        elif event < 0.28:
            fleet.data.away = not fleet.data.away
        elif event < 0.40:
            fleet.world.fault = chance.choice(["before", "after"])
        elif event < 0.42:
            with contextlib.suppress(ConflictError, StoreError):
                cancel(fleet.person, "somebody")
        elif event < 0.44:
            # Away for longer than leases last.
            fleet.world.now += 30
        fleet.look()
        fleet.pass_time()
    fleet.settle()
    rollout = fleet.rollout()
    assert {node.in_force for node in fleet.nodes.values()} == {fleet.head}
    assert rollout is None or rollout.is_over
    # What somebody was told has begun has come to an end that can be read.
    latest = max(fleet.world.acknowledged, default=0)
    assert rollout is None or rollout.number >= latest
    assert fleet.head not in fleet.world.bad | fleet.world.refused
    # Each has kept what a start without the store would need.
    assert set(fleet.copies.values()) <= {0, fleet.head} or fleet.head == 0


def test_a_good_one_is_first_on_one_node_and_then_on_all() -> None:
    fleet = Fleet(1)
    fleet.pass_time()
    fleet.apply()
    having = []
    for _ in range(20):
        fleet.pass_time()
        having.append(sum(node.in_force == 1 for node in fleet.nodes.values()))
    assert having == sorted(having) and having[-1] == 3
    assert having.count(1) >= 5
    rollout = fleet.latest
    assert rollout.stage == "done"
    assert not rollout.unobserved and rollout.seen is not None and rollout.seen.errors == 0


def test_a_bad_one_is_taken_back_before_the_time_is_over() -> None:
    fleet = Fleet(2)
    fleet.apply()
    fleet.settle()
    fleet.apply(bad=True)
    seconds = 0
    while (rollout := fleet.rollout()) is None or not rollout.is_over:
        fleet.pass_time()
        seconds += 1
    assert rollout.stage == "taken_back" and seconds <= 9
    assert "25.0% of" in (rollout.verdict or "")
    fleet.settle()
    assert {node.in_force for node in fleet.nodes.values()} == {1}
    assert fleet.rollout() == rollout, "nothing is tried again"


def test_the_first_one_ever_is_taken_back_to_nothing() -> None:
    fleet = Fleet(3)
    fleet.apply(bad=True)
    fleet.settle()
    assert fleet.head == 0 and {node.in_force for node in fleet.nodes.values()} == {0}


def test_a_refused_one_is_in_force_nowhere() -> None:
    fleet = Fleet(4)
    fleet.apply(refused=True)
    fleet.settle()
    rollout = fleet.latest
    assert rollout.stage == "refused"
    assert rollout.problems == ("routes: is not possible",) and not any(node.had for node in fleet.nodes.values())


def test_the_first_node_that_goes_takes_it_back() -> None:
    fleet = Fleet(5)
    fleet.apply()
    while (rollout := fleet.rollout()) is None or rollout.stage != "observing":
        fleet.pass_time()
    assert rollout.first is not None
    first = next(number for number, node in fleet.nodes.items() if node.id == rollout.first.id)
    del fleet.nodes[first]
    fleet.settle()
    assert fleet.latest.stage == "taken_back"


def test_frozen_without_the_store_and_observed_anew_with_it() -> None:
    fleet = Fleet(6)
    fleet.apply()
    while (rollout := fleet.rollout()) is None or rollout.stage != "observing":
        fleet.pass_time()
    before = [node.in_force for node in fleet.nodes.values()]
    fleet.data.away = True
    for _ in range(60):
        fleet.pass_time()
    assert [node.in_force for node in fleet.nodes.values()] == before
    fleet.data.away = False
    fleet.pass_time()
    assert fleet.latest.stage == "observing"
    fleet.settle()
    assert fleet.latest.stage == "done"


def test_reports_are_bounded_and_leave_with_their_nodes() -> None:
    fleet = Fleet(7)
    for _ in range(30):
        fleet.pass_time()
    assert len([key for key in fleet.data.pairs if key.startswith(NODES)]) == 3
    fleet.nodes.pop(0).follower.leave()
    assert len([key for key in fleet.data.pairs if key.startswith(NODES)]) == 2
