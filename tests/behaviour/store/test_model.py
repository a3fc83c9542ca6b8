"""Random calls, compared with a model: a dictionary and a list of events."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pylae.errors import LeaseExpiredError
from pylae.settings import StoreSettings
from pylae.store.engines import connected
from pylae.store.store import Compare, Delete, Event, Lease, Operation, Put, Store, Watch
from support.stores import Engine

KEYS = st.sampled_from(["a", "a/b", "a/c", "a/b/c", "a-b", "b/c", "B", "b/c~d"])
PREFIXES = st.sampled_from(["", "a/", "a/b/", "b/", "none/"])
VALUES = st.binary(max_size=8)


class Model(RuleBasedStateMachine):
    """A store beside its model."""

    engine: Engine | None = None

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        folder = Path(self._folder.name)
        if self.engine is None or self.engine.server is None:
            self.store: Store = connected(StoreSettings(), folder, folder)
        else:
            self.store = connected(self.engine.server.settings(), folder, folder)
        self.store.migrate()
        self.revision = self.store.range("").revision
        self.begin = self.revision
        self.pairs: dict[str, tuple[bytes, int, Lease | None]] = {}
        self.events: list[Event] = []
        self.leases: list[Lease] = []
        self.ended: set[int] = set()
        self.watches: dict[str, tuple[Watch, int]] = {}

    def teardown(self) -> None:
        for watch, _ in self.watches.values():
            watch.close()
        self.store.close()
        self._folder.cleanup()

    def _changed(self, revision: int, changes: dict[str, bytes | None]) -> None:
        self.revision = revision
        self.events += [Event(key, value, revision) for key, value in sorted(changes.items())]

    @rule(
        compares=st.dictionaries(KEYS, st.sampled_from(["true", "absent", "old"]), max_size=2),
        changes=st.dictionaries(KEYS, st.none() | VALUES, max_size=4),
        chosen=st.none() | st.integers(0, 9),
    )
    def txn(self, compares: dict[str, str], changes: dict[str, bytes | None], chosen: int | None) -> None:
        lease = self.leases[chosen % len(self.leases)] if self.leases and chosen is not None else None
        known = {key: self.pairs[key][1] if key in self.pairs else 0 for key in compares}
        asked = {
            key: {"true": known[key], "absent": 0, "old": max(1, known[key] - 1)}[word]
            for key, word in compares.items()
        }
        holds = asked == known
        operations: list[Operation] = [
            Delete(key) if value is None else Put(key, value, lease) for key, value in changes.items()
        ]
        over = lease is not None and lease.id in self.ended and any(value is not None for value in changes.values())
        try:
            revision = self.store.txn([Compare(*one) for one in asked.items()], operations)
        except LeaseExpiredError:
            # Whether the compares are looked at first is nobody's business.
            assert over
            return
        if not holds:
            assert revision is None
            return
        assert not over
        assert revision is not None
        real = {key: value for key, value in changes.items() if value is not None or key in self.pairs}
        if not real:
            assert revision == self.revision or self.engine is not None
            return
        assert revision > self.revision
        self._changed(revision, real)
        for key, value in real.items():
            if value is None:
                del self.pairs[key]
            else:
                self.pairs[key] = (value, revision, lease)

    @rule()
    def grant(self) -> None:
        if len(self.leases) < 5:
            self.leases.append(self.store.grant(3600))

    @precondition(lambda self: self.leases)
    @rule(chosen=st.integers(0, 9))
    def keep_alive(self, chosen: int) -> None:
        lease = self.leases[chosen % len(self.leases)]
        assert self.store.keep_alive(lease) is (lease.id not in self.ended)

    @precondition(lambda self: self.leases)
    @rule(chosen=st.integers(0, 9))
    def revoke(self, chosen: int) -> None:
        lease = self.leases[chosen % len(self.leases)]
        self.store.revoke(lease)
        self.ended.add(lease.id)
        mine = [key for key, (_, _, one) in self.pairs.items() if one == lease]
        if mine:
            self._changed(self.store.range("").revision, dict.fromkeys(mine))
        for key in mine:
            del self.pairs[key]

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        found = self.store.get(key)
        if found is None:
            assert key not in self.pairs
        else:
            value, revision, lease = self.pairs[key]
            assert (found.key, found.value, found.revision, found.leased) == (key, value, revision, lease is not None)

    @rule(prefix=PREFIXES, after=st.none() | KEYS, limit=st.integers(1, 5))
    def range(self, prefix: str, after: str | None, limit: int) -> None:
        expected = [key for key in sorted(self.pairs) if key.startswith(prefix) and (after is None or key > after)]
        page = self.store.range(prefix, after=after, limit=limit)
        assert [one.key for one in page.pairs] == expected[:limit]
        assert page.more is (len(expected) > limit)
        with self.store.snapshot(prefix) as snapshot:
            assert [one.key for one in snapshot.pairs] == [key for key in sorted(self.pairs) if key.startswith(prefix)]

    @rule(prefix=PREFIXES, share=st.floats(0, 1))
    def watch(self, prefix: str, share: float) -> None:
        if prefix not in self.watches:
            after = self.begin + round(share * (self.revision - self.begin))
            self.watches[prefix] = (self.store.watch(prefix, after), after)

    @precondition(lambda self: self.watches)
    @rule(data=st.data())
    def follow(self, data: st.DataObject) -> None:
        prefix = data.draw(st.sampled_from(sorted(self.watches)))
        watch, after = self.watches[prefix]
        expected = [one for one in self.events if one.revision > after and one.key.startswith(prefix)]
        seen: list[Event] = []
        while len(seen) < len(expected):
            events = watch.wait(10)
            assert events
            seen += events
        assert sorted(seen, key=lambda one: (one.revision, one.key)) == expected
        assert [one.revision for one in seen] == sorted(one.revision for one in seen)
        self.watches[prefix] = (watch, max([after, *(one.revision for one in seen)]))

    @precondition(lambda self: self.watches)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        watch, _ = self.watches.pop(data.draw(st.sampled_from(sorted(self.watches))))
        watch.close()

    @invariant()
    def is_whole(self) -> None:
        assert self.store.range("").revision >= self.revision


def _run(engine: Engine | None, examples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "engine", engine)
    checks = list(HealthCheck)
    Model.TestCase.settings = settings(
        max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=checks, database=None
    )
    Model.TestCase("runTest").debug()


def test_sqlite_does_what_the_model_does(monkeypatch: pytest.MonkeyPatch) -> None:
    _run(None, 6, monkeypatch)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_each_engine_does_what_the_model_does(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(engine, 30, monkeypatch)
