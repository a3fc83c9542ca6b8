"""What the engines in SQL have in common. PostgreSQL and SQLite differ in how they lock, tell time and wake watches."""

from __future__ import annotations

import contextlib
import secrets
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Engine, Row, delete, func, insert, inspect, or_, select, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from pylae.errors import LeaseExpiredError, StoreError, StoreUnavailableError
from pylae.store.store import (
    MOST_BYTES,
    MOST_PAIRS,
    MOST_WATCHES,
    Compare,
    Event,
    KeyValue,
    Lease,
    Migration,
    Operation,
    Page,
    Put,
    Snapshot,
    Store,
    Watch,
    check_key,
    check_prefix,
    compacted,
    end_of,
)
from pylae.store.tables import EVENT, HEAD, LEASE, PAIR

MIGRATIONS = Path(__file__).with_name("migrations")
NEWEST = "0001"
VERSIONS = "alembic_version"
"""The table in which Alembic keeps the version of the schema."""
CONNECTIONS = 4
"""Connections of a pool."""
POOL: Mapping[str, Any] = {"poolclass": QueuePool, "pool_size": CONNECTIONS, "max_overflow": 0}
"""What the engines of SQLAlchemy have in common."""
_ALEMBIC = threading.Lock()
"""Held while Alembic makes steps: it has one context for all threads of a process."""

_KEPT = 16 * 1024 * 1024
"""Bytes of the latest events that are kept for watches that are late."""
_CLEAN = 2 * 1024 * 1024
"""Bytes of new events after which older ones are forgotten."""
_EVENT = 256
"""Bytes that an event counts besides its value."""
_STEP = 1.0
"""Seconds by which clocks of a failed-over server may differ. A lease that lasts longer than it was granted for by more
than this was granted before the clock was set back: when it ends cannot be told, so it is over."""


class SqlStore(Store):
    """A store in SQL. Revisions say what is new to a watch; what wakes it may be lost."""

    newest = NEWEST

    def __init__(self, where: str, engine: Engine, *, reads: Mapping[str, Any], writes: Mapping[str, Any]) -> None:
        """`reads` and `writes` are the execution options of transactions."""
        super().__init__(where)
        self._engine = engine
        self._reads = engine.execution_options(**reads)
        self._writes = engine.execution_options(**writes)
        self._watches = threading.BoundedSemaphore(MOST_WATCHES)

    @abstractmethod
    def _now(self) -> ColumnElement[float]:
        """The store's clock, in seconds since 1970."""

    @abstractmethod
    def _told(self, error: DBAPIError) -> StoreError:
        """Returns what an error of the driver means."""

    @abstractmethod
    def _tell(self, connection: Connection) -> None:
        """Wakes the watches, once the transaction is committed. May be lost."""

    @abstractmethod
    def _begin_migration(self, connection: Connection) -> None:
        """Locks out other migrations until the end of the transaction."""

    @abstractmethod
    def _copy(self, version: str) -> str | None:
        """Makes a copy of a store with this version of the schema, if the engine can. Returns its name."""

    def get(self, key: str) -> KeyValue | None:
        """As `Store.get`."""
        check_key(key)
        with self._reading() as connection:
            row = connection.execute(self._alive().where(PAIR.c.key == key)).first()
        return _pair(row) if row else None

    def range(self, prefix: str, *, after: str | None = None, limit: int = MOST_PAIRS) -> Page:
        """As `Store.range`."""
        check_prefix(prefix)
        if after is not None:
            check_key(after)
        with self._reading() as connection:
            return self._page(connection, prefix, after, max(1, min(limit, MOST_PAIRS)))

    @contextlib.contextmanager
    def snapshot(self, prefix: str = "") -> Iterator[Snapshot]:
        """As `Store.snapshot`."""
        check_prefix(prefix)
        with self._reading() as connection:
            first = self._page(connection, prefix, None, MOST_PAIRS)
            yield Snapshot(self._pages(connection, prefix, first), first.revision)

    def _pages(self, connection: Connection, prefix: str, page: Page) -> Iterator[KeyValue]:
        yield from page.pairs
        while page.more:
            page = self._page(connection, prefix, page.pairs[-1].key, MOST_PAIRS)
            yield from page.pairs

    def _page(self, connection: Connection, prefix: str, after: str | None, limit: int) -> Page:
        revision = connection.execute(select(HEAD.c.revision)).scalar_one()
        found = self._alive().where(PAIR.c.key < end_of(prefix))
        found = found.where(PAIR.c.key >= prefix if after is None else PAIR.c.key > max(prefix, after))
        # The first one too many says that there are more. Its value is not fetched, nor are those beyond a page.
        sized = found.with_only_columns(PAIR.c.key, func.length(PAIR.c.value).label("length"))
        lengths = connection.execute(sized.order_by(PAIR.c.key).limit(limit + 1)).all()
        fitting, total = 0, 0
        for row in lengths[:limit]:
            total += row.length
            if fitting and total > MOST_BYTES:
                break
            fitting += 1
        if not fitting:
            return Page((), revision, False)
        rows = connection.execute(found.where(PAIR.c.key <= lengths[fitting - 1].key).order_by(PAIR.c.key))
        return Page(tuple(map(_pair, rows)), revision, fitting < len(lengths))

    def _commit(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> int | None:
        with self._writing() as connection:
            head = self._locked(connection)
            revision = self._sweep(connection, head)
            if not self._compare(connection, compares):
                return None
            weight = self._apply(connection, revision + 1, head.now, operations)
            if weight:
                revision += 1
                if head.weight + weight > _CLEAN:
                    self._forget(connection)
                self._tell(connection)
        return revision

    def _locked(self, connection: Connection) -> Row[Any]:
        """Locks out other writers, and returns the row of HEAD, and the present time as `now`."""
        return connection.execute(select(HEAD, self._now().label("now")).with_for_update()).one()

    def _compare(self, connection: Connection, compares: Sequence[Compare]) -> bool:
        if not compares:
            return True
        named = PAIR.c.key.in_([one.key for one in compares])
        rows = connection.execute(select(PAIR.c.key, PAIR.c.revision).where(named))
        found = {row.key: row.revision for row in rows}
        return all(found.get(one.key, 0) == one.revision for one in compares)

    def _apply(self, connection: Connection, revision: int, now: float, operations: Sequence[Operation]) -> int:
        """Makes the changes, and returns how much the events weigh."""
        if not operations:
            return 0
        leases = {one.lease.id for one in operations if isinstance(one, Put) and one.lease}
        if leases:
            known = select(LEASE.c.id).where(LEASE.c.id.in_(leases), self._lives(now)).with_for_update()
            if leases - set(connection.execute(known).scalars()):
                raise LeaseExpiredError(f"a lease in {self.where} is over", "make another one")
        named = PAIR.c.key.in_([one.key for one in operations])
        known_keys = set(connection.execute(select(PAIR.c.key).where(named)).scalars())
        changes = [one for one in operations if isinstance(one, Put) or one.key in known_keys]
        if not changes:
            return 0
        if known_keys:
            connection.execute(delete(PAIR).where(PAIR.c.key.in_(known_keys)))
        puts = [one for one in changes if isinstance(one, Put)]
        if puts:
            rows = [
                {"key": one.key, "value": one.value, "revision": revision, "lease": one.lease and one.lease.id}
                for one in puts
            ]
            connection.execute(insert(PAIR), rows)
        return self._record(
            connection, revision, {one.key: one.value if isinstance(one, Put) else None for one in changes}
        )

    def _record(self, connection: Connection, revision: int, changes: Mapping[str, bytes | None]) -> int:
        rows = [
            {"revision": revision, "key": key, "value": value, "weight": len(value or b"") + _EVENT}
            for key, value in changes.items()
        ]
        connection.execute(insert(EVENT), rows)
        weight = sum(cast("int", row["weight"]) for row in rows)
        connection.execute(update(HEAD).values(revision=revision, weight=HEAD.c.weight + weight))
        return weight

    def _forget(self, connection: Connection) -> None:
        """Forgets all events but the latest."""
        newer = func.sum(EVENT.c.weight).over(order_by=(EVENT.c.revision.desc(), EVENT.c.key)).label("total")
        summed = select(EVENT.c.revision, newer).subquery()
        cut = connection.execute(select(func.max(summed.c.revision)).where(summed.c.total > _KEPT)).scalar()
        values = {"weight": 0}
        if cut is not None:
            connection.execute(delete(EVENT).where(EVENT.c.revision <= cut))
            values["compacted"] = cut
        connection.execute(update(HEAD).values(**values))

    def _sweep(self, connection: Connection, head: Row[Any]) -> int:
        """Deletes the keys of leases that are over, each lease with a revision of its own. Returns the last one."""
        revision = int(head.revision)
        over = list(connection.execute(select(LEASE.c.id).where(~self._lives(head.now)).limit(MOST_PAIRS)).scalars())
        for lease in over:
            revision = self._end(connection, revision, lease)
        if over:
            self._tell(connection)
        return revision

    def _end(self, connection: Connection, revision: int, lease: int) -> int:
        keys = list(connection.execute(select(PAIR.c.key).where(PAIR.c.lease == lease)).scalars())
        connection.execute(delete(LEASE).where(LEASE.c.id == lease))
        if not keys:
            return revision
        connection.execute(delete(PAIR).where(PAIR.c.lease == lease))
        self._record(connection, revision + 1, dict.fromkeys(keys))
        return revision + 1

    def _lives(self, now: ColumnElement[float] | float) -> ColumnElement[bool]:
        return (LEASE.c.expires > now) & (LEASE.c.expires <= now + LEASE.c.ttl + _STEP)

    def _alive(self) -> Any:
        """Selects the keys whose lease, if they have one, is not over."""
        joined = PAIR.outerjoin(LEASE, PAIR.c.lease == LEASE.c.id)
        lives = or_(PAIR.c.lease.is_(None), self._lives(self._now()))
        return select(PAIR.c.key, PAIR.c.value, PAIR.c.revision, PAIR.c.lease).select_from(joined).where(lives)

    def _grant(self, ttl: int) -> Lease:
        lease = Lease(secrets.randbits(62) + 1, ttl)
        with self._writing() as connection:
            connection.execute(insert(LEASE).values(id=lease.id, ttl=ttl, expires=self._now() + ttl))
        return lease

    def keep_alive(self, lease: Lease) -> bool:
        """As `Store.keep_alive`."""
        mine = update(LEASE).where(LEASE.c.id == lease.id, self._lives(self._now()))
        with self._writing() as connection:
            return connection.execute(mine.values(expires=self._now() + LEASE.c.ttl)).rowcount == 1

    def revoke(self, lease: Lease) -> None:
        """As `Store.revoke`."""
        with self._writing() as connection:
            revision = self._locked(connection).revision
            if self._end(connection, revision, lease.id) > revision:
                self._tell(connection)

    def sweep(self) -> None:
        """Ends the leases that are over, so that watches learn of it."""
        with self._writing() as connection:
            self._sweep(connection, self._locked(connection))

    def events(self, prefix: str, after: int) -> tuple[list[Event], int, bool]:
        """Returns events after a revision, the revision up to which these are all, and whether a lease is over.

        Raises CompactedError.
        """
        within = (EVENT.c.revision > after, EVENT.c.key >= prefix, EVENT.c.key < end_of(prefix))
        with self._reading() as connection:
            head = connection.execute(select(HEAD.c.revision, HEAD.c.compacted)).one()
            if not head.compacted <= after <= head.revision:
                raise compacted(self.where, after)
            over = connection.execute(select(LEASE.c.id).where(~self._lives(self._now())).limit(1)).first() is not None
            if after == head.revision:
                return [], after, over
            weighed = select(EVENT.c.revision, EVENT.c.weight).where(*within)
            rows = connection.execute(weighed.order_by(EVENT.c.revision).limit(MOST_PAIRS + 1)).all()
            upto = _cut(rows) or head.revision
            found = select(EVENT).where(*within, EVENT.c.revision <= upto).order_by(EVENT.c.revision, EVENT.c.key)
            return [Event(row.key, row.value, row.revision) for row in connection.execute(found)], upto, over

    def schema(self) -> str | None:
        """As `Store.schema`."""
        with self._reading() as connection:
            return self._version(connection)

    def _version(self, connection: Connection) -> str | None:
        if not inspect(connection).has_table(VERSIONS):
            return None
        found = connection.exec_driver_sql(f"select version_num from {VERSIONS}").scalar()  # noqa: S608 (a constant)
        return None if found is None else str(found)

    def migrate(self) -> Migration:
        """As `Store.migrate`."""
        with self._writing() as connection:
            self._begin_migration(connection)
            before = self._version(connection)
            if before is not None and before >= self.newest:
                return Migration(before, before)
            copy = None if before is None else self._copy(before)
            _upgrade(connection, self.newest)
            return Migration(before, self.newest, copy)

    def close(self) -> None:
        """As `Store.close`."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._translated(), self._reads.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._translated(), self._writes.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeoutError:
            raise StoreUnavailableError(
                f"{self.where}: all {CONNECTIONS} connections are in use", "is the store slow, or are calls waiting?"
            ) from None
        except DBAPIError as error:
            raise self._told(error) from error
        except SQLAlchemyError as error:
            raise StoreError(f"{self.where}: {str(error).splitlines()[0]}") from error

    def take_watch(self) -> threading.BoundedSemaphore:
        """Takes the place of one watch. Raises StoreError if there are too many."""
        if not self._watches.acquire(blocking=False):
            raise StoreError(f"{self.where} has {MOST_WATCHES} watches already", "close those that are not used")
        return self._watches


class SqlWatch(Watch):
    """Looks for new events when something wakes it, and every now and then."""

    def __init__(self, store: SqlStore, prefix: str, after: int) -> None:
        super().__init__(prefix, after)
        self._store = store
        self._place: threading.BoundedSemaphore | None = store.take_watch()

    @abstractmethod
    def _sleep(self, timeout: float) -> None:
        """Sleeps until something may have changed, this many seconds at most, or less."""

    def wait(self, timeout: float) -> list[Event]:
        """As `Watch.wait`."""
        end = monotonic() + timeout
        while True:
            events, self.after, over = self._store.events(self.prefix, self.after)
            left = end - monotonic()
            if events or left <= 0:
                return events
            if over:
                self._store.sweep()
            else:
                self._sleep(left)

    def close(self) -> None:
        """As `Watch.close`."""
        if self._place is not None:
            self._place.release()
            self._place = None


def _pair(row: Row[Any]) -> KeyValue:
    return KeyValue(row.key, bytes(row.value), row.revision, row.lease is not None)


def _cut(rows: Sequence[Any]) -> int | None:
    """Returns the revision up to which events make a batch, or None if all do. Those of a revision stay together."""
    total = 0
    fitting: int | None = None
    last: int | None = None
    for count, row in enumerate(rows):
        if last is not None and row.revision != last:
            fitting = last
        total += row.weight
        if fitting is not None and (total > MOST_BYTES or count >= MOST_PAIRS):
            return fitting
        last = row.revision
    return last if len(rows) > MOST_PAIRS else None


def _upgrade(connection: Connection, version: str) -> None:
    """Has Alembic make the steps that are missing, in the transaction of the connection."""
    # Only a migration needs Alembic.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _ALEMBIC:
        command.upgrade(config, version)
