"""Keeps a node in touch with the store: it lives, reports, learns what it should have, and coordinates if need be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from pylae.errors import LeaseExpiredError, StoreError
from pylae.fleet.coordinator import Coordinator
from pylae.fleet.figures import Figures
from pylae.fleet.member import Member
from pylae.fleet.records import COORDINATOR, LEASE, NODES, NodeName, Report
from pylae.fleet.rollouts import Present, present
from pylae.store.store import Lease, Store

BUSY = 1.0
"""Seconds between two reports during a roll-out."""
IDLE = 5.0
"""Seconds between two reports otherwise, if there is nothing new."""
REREAD = 5.0
"""Seconds after which the head is read again, even if there was no event."""
_ALIVE = 3.0
"""Seconds between two signs of life."""


@dataclass(frozen=True, slots=True)
class Self:
    """What a node always says of itself."""

    name: NodeName
    release: str
    started: datetime

    def report(self, member: Member, present: Present | None, additions: tuple[str, ...]) -> Report:
        """Returns what it reports, without figures."""
        target = member.in_force
        if present is not None:
            rollout, head = present.rollout, present.head.number
            target = rollout.target_of(self.name.id, head) if rollout else head
        return Report(
            id=self.name.id,
            name=self.name.name,
            release=self.release,
            started=self.started,
            in_force=member.in_force,
            target=target,
            checked=member.checked,
            failed=member.failed,
            before=member.before.as_dict() if member.before else {},
            additions=additions,
        )


class Follower:
    """What a node does in the store, step by step. A step that fails changes nothing that the next one cannot mend."""

    def __init__(
        self,
        store: Store,
        me: Self,
        member: Member,
        figures: Callable[[bool], Figures],
        additions: Callable[[], tuple[str, ...]] = tuple,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`figures` reads those of this node, with durations if asked."""
        self._store, self._me, self._member, self._clock = store, me, member, clock
        self._figures, self._additions = figures, additions
        self._lease: Lease | None = None
        self._began = clock()
        self._counted = self._began, 0
        self._rate = 0.0
        self._alive = self._reported = -LEASE * 1.0
        self._told: Report | None = None
        self._present: Present | None = None
        self._read_at = -REREAD
        self._coordinator: Coordinator | None = None

    def step(self, *, refresh: bool = True) -> Present:
        """Does what is due, except for what the member has to do. Returns what the store has. Raises StoreError.

        Without `refresh` nothing has changed, as far as a watch tells, and it is not read again each time.
        """
        now = self._clock()
        found = self._present
        if found is None or refresh or found.is_running or now - self._read_at >= REREAD:
            found = self._present = present(self._store)
            self._read_at = now
        is_busy = found.is_running
        if now - self._alive >= _ALIVE:
            self._live()
            self._alive = now
        self._report(found, now, is_busy)
        self._coordinate(is_busy)
        return found

    def _live(self) -> None:
        if self._lease is not None and not self._store.keep_alive(self._lease):
            self._lease = self._told = None
        coordinator = self._coordinator
        if coordinator is not None and not self._store.keep_alive(coordinator.hold.lease):
            self._coordinator = None

    def _report(self, found: Present, now: float, is_busy: bool) -> None:
        report = self._me.report(self._member, found, self._additions())
        if report == self._told and now - self._reported < (BUSY if is_busy else IDLE):
            return
        full = self._with_figures(report, now, self._figures(is_busy))
        if self._lease is None:
            self._lease = self._store.grant(LEASE)
        try:
            self._store.put(f"{NODES}{report.id}", full.encoded(), lease=self._lease)
        except LeaseExpiredError:
            self._lease = self._store.grant(LEASE)
            self._store.put(f"{NODES}{report.id}", full.encoded(), lease=self._lease)
        self._told, self._reported = report, now

    def _with_figures(self, report: Report, now: float, figures: Figures) -> Report:
        before, requests = self._counted
        if now - before >= BUSY:
            self._rate = max(0.0, (figures.requests - requests) / (now - before))
            self._counted = now, figures.requests
        return report.model_copy(update={"age": now - self._began, "rate": self._rate, **figures.as_dict()})

    def _coordinate(self, is_busy: bool) -> None:
        if not is_busy:
            self._release()
            return
        if self._coordinator is None:
            hold = self._store.hold(COORDINATOR, self._me.name.name.encode(), LEASE)
            if hold is None:
                return
            self._coordinator = Coordinator(self._store, hold, self._clock)
        self._coordinator.step()

    def _release(self) -> None:
        if self._coordinator is not None:
            coordinator, self._coordinator = self._coordinator, None
            self._store.revoke(coordinator.hold.lease)

    def leave(self) -> None:
        """Says that this node ends. What cannot be said now, the store learns from its silence."""
        with contextlib.suppress(StoreError):
            self._release()
            if self._lease is not None:
                self._store.revoke(self._lease)
