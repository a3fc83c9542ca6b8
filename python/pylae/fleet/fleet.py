"""A node of a fleet while it runs: what follows the store, and what people ask of it."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pylae.admin.lasting import Lasting
from pylae.engine import build
from pylae.errors import CompactedError, ConfigError, ConflictError, EngineError, Problem, StoreError
from pylae.fleet import rollouts
from pylae.fleet.figures import Figures, Meter
from pylae.fleet.follower import Follower, Self
from pylae.fleet.member import Member
from pylae.fleet.metrics import Gauges
from pylae.fleet.records import MOST_ADDITIONS, MOST_TEXT, NODES, ROLLOUTS, NodeName, Report, Rollout, read
from pylae.fleet.rollouts import Present
from pylae.fleet.shared import Shared
from pylae.history.content import document_of, literal_secrets
from pylae.history.entry import Cause
from pylae.history.history import History
from pylae.runtime.memory import give_back
from pylae.store.store import Store, Watch

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

log = logging.getLogger("pylae.cluster")

_BUSY, _IDLE = 0.3, 1.0
"""Seconds that a watch waits during a roll-out, and otherwise: so late is noticed what no event tells."""
_AGAIN = 1.0
"""Seconds between two tries to reach the store."""
_FAREWELL = 3.0
"""Seconds that the end waits for what is under way."""
_CAUSE = Cause("apply", "fleet")


@dataclass(frozen=True, slots=True)
class Seen:
    """What this node knows of the fleet."""

    present: Present | None
    problem: str | None
    """Why the store is not available; None if it is."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A document that somebody wants on all nodes.

    Attributes:
        text: The document.
        cause: Who wants it, why and how.
        address: Where the caller is; None at a socket of this machine.
        expected: The head that it was made from, as a text; None for any.
        now: Whether all nodes get it at once, unobserved.
    """

    text: str
    cause: Cause
    address: str | None = None
    expected: str | None = None
    now: bool = False


class LocalNode:
    """What this node does with a configuration (`pylae.fleet.member.Local`)."""

    def __init__(self, runtime: Runtime, shared: Shared, meter: Meter) -> None:
        self._runtime, self._shared, self._meter = runtime, shared, meter

    def check(self, number: int) -> None:
        """As `Local.check`."""
        try:
            with self._runtime.changing:
                drafted = self._shared.of(number)
            drafted.check()
        finally:
            give_back()

    def apply(self, number: int, *, keep: bool) -> None:
        """As `Local.apply`."""
        runtime, shared = self._runtime, self._shared
        try:
            with runtime.changing:
                runtime.apply(shared.of(number), keep=True, cause=_CAUSE)
                shared.number = number
                if keep:
                    self._copy()
        finally:
            give_back()
        log.info("configuration %d of the fleet is in force", number)

    def keep(self, _number: int) -> None:
        """As `Local.keep`."""
        with self._runtime.changing:
            self._shared.keep()

    def _copy(self) -> None:
        try:
            self._shared.keep()
        except OSError as error:
            # It is in force nevertheless.
            log.error("it cannot be kept for a start without the store: %s", error)

    def lately(self, window: float) -> Figures:
        """As `Local.lately`."""
        return self._meter.lately(window)


class Fleet:
    """Follows the store on a thread of its own. Another one checks and applies, which may take long."""

    def __init__(self, runtime: Runtime, shared: Shared) -> None:
        self._runtime, self._shared = runtime, shared
        config = runtime.builder.config
        unique = secrets.token_hex(8)
        named = config.cluster.node if config.cluster else None
        self.me = NodeName(id=unique, name=named or f"{socket.gethostname()[:128]}-{unique[:6]}")
        """This node."""
        runtime.access.node = self.me.name
        meter = Meter(runtime.engine)
        local = LocalNode(runtime, shared, meter)
        self.member = Member(unique, local, shared.number, kept=shared.copied, failed=shared.refused)
        """What this node has, and should have."""
        shared.on_own_change = self.member.retry
        self._figures = _Steady(meter)
        self._self = Self(self.me, build()["version"], runtime.started)
        self._follower: Follower | None = None
        self._seen = Seen(None, None)
        self._job: threading.Thread | None = None
        self._process = os.getpid()
        self._lasting = Lasting("pylae-fleet", "what follows the store of the fleet", self._run)

    def start(self) -> None:
        """Begins."""
        self._lasting.start()

    def stop(self) -> None:
        """Ends it. Others learn at once that this node has gone, if the store answers."""
        if os.getpid() != self._process or self._lasting.stopped.is_set():
            return
        self._lasting.stopped.set()
        self._lasting.join()
        if self._job is not None:
            self._job.join(_FAREWELL)

    @property
    def revision(self) -> str:
        """The number of the configuration in force, as a text."""
        return self._shared.revision

    @property
    def seen(self) -> Seen:
        """What this node knows."""
        return self._seen

    def _run(self) -> None:
        while not self._lasting.stopped.is_set():
            try:
                store = self._runtime.kept.opened()
                with store.snapshot(ROLLOUTS) as snapshot:
                    after = snapshot.revision
                with store.watch(ROLLOUTS, after) as watch:
                    self._follow(store, watch)
            except CompactedError:
                # It begins again with all that is there now.
                continue
            except StoreError as error:
                self._lost(error)
                self._lasting.stopped.wait(_AGAIN)
        if self._follower is not None and self._seen.problem is None:
            self._follower.leave()

    def _follow(self, store: Store, watch: Watch) -> None:
        if self._follower is None:
            self._follower = Follower(store, self._self, self.member, self._figures.read, self._additions)
        refresh = True
        while not self._lasting.stopped.is_set():
            present = self._follower.step(refresh=refresh)
            self._found(present)
            self._work(present)
            is_busy = present.is_running or self._job is not None
            refresh = bool(watch.wait(_BUSY if is_busy else _IDLE))

    def _found(self, present: Present) -> None:
        if self._seen.problem is not None:
            log.warning("the store of the fleet is available again")
        self._seen = Seen(present, None)

    def _lost(self, error: StoreError) -> None:
        if self._seen.problem is None and not self._lasting.stopped.is_set():
            log.error("%s: this node keeps the configuration that it has, and roll-outs stand still", error)
        self._seen = Seen(self._seen.present, str(error)[:MOST_TEXT])

    def _work(self, present: Present) -> None:
        """Begins what is to be done, unless something is under way."""
        if self._job is not None:
            if self._job.is_alive():
                return
            self._job = None
        job = self.member.step(present.head.number, present.rollout)
        if job is not None:
            self._job = threading.Thread(target=job, name="pylae-fleet-apply", daemon=True)
            self._job.start()

    def begin(self, wanted: Wanted) -> tuple[Rollout, list[Problem]]:
        """Begins to roll out a document; returns the roll-out, and warnings about the document.

        Raises ConfigError, ConflictError or StoreError.
        """
        store = self._runtime.kept.opened()
        before = rollouts.present(store)
        before.refuse_second()
        if wanted.expected not in (None, str(before.head.number)):
            raise ConflictError(f"revision {wanted.expected} is no longer that of the fleet, {before.head.number} is")
        drafted = self._runtime.drafted(wanted.text)
        warnings = drafted.check()
        document = document_of(drafted)
        if secret := literal_secrets(drafted, document):
            raise ConfigError(secret)
        bounds = drafted.written.rollout
        history = History(store)
        latest = history.head()
        rollout = Rollout(
            number=latest + 1,
            previous=before.head.number,
            author=wanted.cause.author[:256],
            address=wanted.address,
            reason=wanted.cause.reason,
            started=datetime.now(UTC),
            observe=bounds.observe.total_seconds(),
            max_errors=bounds.max_errors,
            min_requests=bounds.min_requests,
            now=wanted.now,
        )
        changes, compares = rollouts.begun(before, rollout)
        try:
            history.append(
                document,
                wanted.cause,
                node=self.me.name,
                expected=latest,
                before=before.head.number,
                compares=compares,
                operations=changes,
            )
        except ConflictError:
            rollouts.present(store).refuse_second()
            raise
        log.info("%s has begun to roll out configuration %d", wanted.cause.author, rollout.number)
        self._tidy(history, before.head.number, rollout.number)
        return rollout, warnings

    def _tidy(self, history: History, *named: int) -> None:
        try:
            history.tidy(self._runtime.kept.settings.history, named)
        except StoreError as error:
            log.warning("old configurations could not be removed from the history: %s", error)

    def cancel(self, who: str) -> Rollout:
        """As `rollouts.cancel`."""
        return rollouts.cancel(self._runtime.kept.opened(), who)

    def rollout(self) -> Rollout | None:
        """Returns the latest roll-out, or None if there was none. Raises StoreError."""
        return rollouts.present(self._runtime.kept.opened()).rollout

    def report(self) -> Report:
        """Returns what this node says of itself."""
        figures = self._figures.counted()
        present = self._seen.present
        return self._self.report(self.member, present, self._additions()).model_copy(update=figures.as_dict())

    def _additions(self) -> tuple[str, ...]:
        return tuple(name[:256] for name in self._runtime.builder.added[:MOST_ADDITIONS])

    def nodes(self) -> list[Report]:
        """Returns what the nodes that live report, sorted by name. Raises StoreError."""
        found = []
        with self._runtime.kept.opened().snapshot(NODES) as snapshot:
            for pair in snapshot.pairs:
                try:
                    found.append(read(Report, pair.key, pair.value))
                except StoreError as error:
                    log.warning("a node of the fleet is not shown: %s", error)
        return sorted(found, key=lambda one: (one.name, one.id))

    def gauges(self) -> Gauges:
        """Returns what the metrics say of this node."""
        return Gauges(self._seen.problem is None, self.member.in_force, self.member.target)


class _Steady:
    """Figures that stay what they were once the engine has stopped."""

    def __init__(self, meter: Meter) -> None:
        self._meter, self._latest = meter, Figures()

    def read(self, durations: bool) -> Figures:
        """Returns the figures, with durations if asked."""
        try:
            self._latest = self._meter.read(durations=durations)
        except EngineError:
            log.debug("the engine has stopped")
        return self._latest

    def counted(self) -> Figures:
        """Returns them without durations."""
        try:
            return self._meter.counted()
        except EngineError:
            return self._latest


def start(runtime: Runtime) -> Fleet:
    """Lets a running gateway follow its shared store."""
    if not isinstance(runtime.override, Shared):
        raise EngineError("the store of this gateway is not shared")
    fleet = Fleet(runtime, runtime.override)
    fleet.start()
    return fleet
