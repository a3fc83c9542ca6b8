"""Leads a roll-out from one stage to the next: one node at a time does, and each step is one transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from time import monotonic

from pylae.errors import StoreError
from pylae.fleet import head
from pylae.fleet.figures import Figures
from pylae.fleet.judgement import Judgement, baseline_of, judge
from pylae.fleet.records import LEASE, NODES, ROLLOUT, Counted, NodeName, Refused, Report, Rollout, read
from pylae.history.history import History
from pylae.store.store import Compare, Hold, Put, Store

log = logging.getLogger("pylae.cluster")

CHECK_TIME = 120.0
"""Seconds that nodes may take to check a configuration."""
APPLY_TIME = 120.0
"""Seconds that the first node may take to put it in force."""
GONE = float(LEASE)
"""Seconds for which the first node must be away before it counts as gone. After the store was away, all nodes are."""
_FROZEN = LEASE / 2
"""Seconds between two steps after which this coordinator knows no more than a new one."""


class Coordinator:
    """What one node knows while it leads a roll-out. It decides nothing that is not in the store afterwards.

    If it dies, the next one goes on where the store says, and observes anew: what the figures were is in nobody's
    memory any more.
    """

    def __init__(self, store: Store, hold: Hold, clock: Callable[[], float] = monotonic) -> None:
        self._store, self.hold, self._clock = store, hold, clock
        self._began = self._last_seen = self._last_step = clock()
        self._stage: tuple[int, str] | None = None
        self._led_to: tuple[int, str] | None = None
        self._base: dict[str, Report] = {}
        self._nodes: dict[str, Report] = {}

    def step(self) -> Rollout | None:
        """Does what is next. Returns the roll-out that it has seen; None if there is none. Raises StoreError.

        It changes nothing if this node does not hold the coordinator's key any more.
        """
        found = self._store.get(ROLLOUT)
        if found is None:
            return None
        rollout = read(Rollout, ROLLOUT, found.value)
        if rollout.is_over:
            return rollout
        now = self._clock()
        if now - self._last_step > _FROZEN:
            self._stage = self._led_to = None
        self._last_step = now
        self._nodes = dict(self._living())
        if self._stage != (rollout.number, rollout.stage):
            # Time counts from where this coordinator has seen the stage begin.
            self._stage, self._began, self._last_seen = (rollout.number, rollout.stage), now, now
            self._base = {}
        step = {"checking": self._check, "admitting": self._admit, "observing": self._observe}[rollout.stage]
        if (after := step(rollout, now)) is not None:
            self._put(found.revision, rollout, after)
            return after
        return rollout

    def _living(self) -> Iterator[tuple[str, Report]]:
        """What nodes report, by their ids."""
        with self._store.snapshot(NODES) as snapshot:
            for pair in snapshot.pairs:
                try:
                    report = read(Report, pair.key, pair.value)
                except StoreError as error:
                    log.warning("a node of the fleet is passed over: %s", error)
                else:
                    yield report.id, report

    def _put(self, revision: int, before: Rollout, after: Rollout) -> None:
        """Puts the next stage into the store; with the last one, all nodes follow."""
        compares = [self.hold.compare, Compare(ROLLOUT, revision)]
        changes: list[Put] = [Put(ROLLOUT, after.encoded())]
        if after.stage == "done":
            present = head.read(self._store)
            if present.number != before.previous:
                log.error("the history has another head than when the roll-out of %d began", before.number)
                return
            compares.append(present.compare)
            changes.append(head.put(after.number))
        if after.is_over:
            changes += History(self._store).with_outcome(after.number, after.stage)
        if self._store.txn(compares, changes) is not None:
            self._led_to = after.number, after.stage
            log.info("%s", said(after))

    def _check(self, rollout: Rollout, now: float) -> Rollout | None:
        """Waits until all nodes have checked it. One refusal ends it."""
        late = []
        for node in self._sorted():
            checked = node.checked if node.checked and node.checked.number == rollout.number else None
            if checked is None:
                late.append(node)
            elif checked.problems:
                return _refused(rollout, node, checked)
        if late and now - self._began >= CHECK_TIME:
            text = f"{late[0].name} has not checked it within {CHECK_TIME:g} s"
            return rollout.over("refused", text, node=late[0].name)
        if late or not self._nodes:
            return None
        if rollout.now:
            return rollout.over("done", "put in force on all nodes at once, unobserved, as was asked", unobserved=True)
        first = self._busiest()
        return rollout.model_copy(update={"stage": "admitting", "first": NodeName(id=first.id, name=first.name)})

    def _sorted(self) -> list[Report]:
        return sorted(self._nodes.values(), key=lambda one: (one.name, one.id))

    def _busiest(self) -> Report:
        """The node that answers most: there, a judgement takes the shortest time."""
        return max(self._sorted(), key=lambda one: (one.rate, one.requests))

    def _admit(self, rollout: Rollout, now: float) -> Rollout | None:
        """Waits until the first node has it in force."""
        node = self._first(rollout, now)
        if isinstance(node, Rollout):
            return node
        if node is not None and node.in_force == rollout.number:
            return rollout.model_copy(update={"stage": "observing", "observed": datetime.now(UTC)})
        if node is not None and node.failed and node.failed.number == rollout.number:
            return _refused(rollout, node, node.failed)
        if now - self._began >= APPLY_TIME and rollout.first is not None:
            return rollout.over("taken_back", f"{rollout.first.name} has not put it in force in {APPLY_TIME:g} s")
        return None

    def _first(self, rollout: Rollout, now: float) -> Report | Rollout | None:
        """Returns the first node; how the roll-out ends if that is gone; None if it may only be away for a moment."""
        first = rollout.first
        node = self._nodes.get(first.id) if first else None
        if node is not None:
            self._last_seen = now
        elif now - self._last_seen >= GONE:
            name = first.name if first else "the first node"
            return rollout.over("taken_back", f"{name} has ended, or lost the store, while it was observed")
        return node

    def _observe(self, rollout: Rollout, now: float) -> Rollout | None:
        """Compares the first node with the others."""
        node = self._first(rollout, now)
        if node is None or isinstance(node, Rollout):
            return node
        if node.in_force != rollout.number:
            if now - self._began < GONE:
                return None
            return rollout.over("taken_back", f"{node.name} does not have it in force any more")
        if node.id not in self._base:
            self._base = self._nodes
            if self._led_to == self._stage:
                return None
            # Another coordinator has seen it begin.
            self._led_to = self._stage
            return rollout.model_copy(update={"observed": datetime.now(UTC)})
        baseline = baseline_of(self._others(rollout, node), node.figures_before, rollout.bounds)
        seen = node.figures - self._base[node.id].figures
        # By the node's clock, for what it has reported may have come late.
        final = node.age - self._base[node.id].age >= rollout.observe
        verdict = judge(seen, baseline, rollout.bounds, final=final)
        if verdict is None:
            return None
        return self._judged(rollout, verdict, Counted.of(seen), Counted.of(baseline.figures))

    def _others(self, rollout: Rollout, first: Report) -> Figures:
        """What the other nodes have answered meanwhile, as far as they have what was in force before."""
        found = Figures()
        for node in self._nodes.values():
            before = self._base.get(node.id)
            if before is not None and node.id != first.id and node.in_force == rollout.previous:
                found += node.figures - before.figures
        return found

    @staticmethod
    def _judged(rollout: Rollout, verdict: Judgement, seen: Counted, usual: Counted) -> Rollout:
        told = {"seen": seen, "usual": usual, "unobserved": verdict.kind == "unobserved"}
        return rollout.over("taken_back" if verdict.kind == "bad" else "done", verdict.text, **told)


def _refused(rollout: Rollout, node: Report, why: Refused) -> Rollout:
    return rollout.over("refused", f"{node.name} has refused it", node=node.name, problems=why.problems)


def said(rollout: Rollout) -> str:
    """Returns what has come of a roll-out, in a sentence."""
    if rollout.stage == "checking":
        return f"configuration {rollout.number} is checked by all nodes"
    if rollout.first is not None and not rollout.is_over:
        doing = "gets it first" if rollout.stage == "admitting" else f"is observed for {rollout.observe:g} s"
        return f"configuration {rollout.number}: {rollout.first.name} {doing}"
    words = {
        "done": "is for all nodes",
        "refused": "was refused",
        "taken_back": "was taken back",
        "cancelled": "was cancelled",
    }
    return f"configuration {rollout.number} {words[rollout.stage]}: {rollout.verdict}"
