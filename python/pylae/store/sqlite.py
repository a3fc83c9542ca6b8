"""SQLite: a file in the state folder, for the processes of one machine."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import ColumnElement, Connection, create_engine, event, literal
from sqlalchemy.exc import DBAPIError

from pylae import state
from pylae.errors import StoreError, StoreUnavailableError
from pylae.state.owner import acting
from pylae.store.sql import POOL, SqlStore, SqlWatch
from pylae.store.store import Migration, Watch

FILE = "store.db"
_COPIES = 3
"""How many copies from before migrations are kept."""
_LOOK = 0.02
"""Seconds between two looks at whether the file has changed."""
_ASK = 1.0
"""Seconds after which a watch asks, even if the file seems not to have changed."""
_LONGEST_LOG = 64 * 1024 * 1024
"""Bytes to which SQLite shortens its log once all of it is in the file."""
_AWAY = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_NOMEM")
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_FORBIDDEN = ("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")


class SqliteStore(SqlStore):
    """A store in a file, which the first migration makes."""

    def __init__(self, folder: Path, timeout: float) -> None:
        self.file = folder / FILE
        self._timeout = timeout
        engine = create_engine("sqlite+pysqlite://", creator=self._connect, pool_timeout=timeout, **POOL)
        event.listen(engine, "begin", _begin)
        # A transaction that reads first could not wait for others before it writes: it would have to begin again.
        super().__init__(f"the store {self.file}", engine, reads={}, writes={"pylae_begin": "BEGIN IMMEDIATE"})

    def schema(self) -> str | None:
        """As `Store.schema`."""
        return super().schema() if os.path.lexists(self.file) else None

    def migrate(self) -> Migration:
        """As `Store.migrate`."""
        try:
            state.sweep(self.file.parent, FILE)
            if not os.path.lexists(self.file):
                _make(self.file)
        except OSError as error:
            raise StoreError(
                f"{self.where} cannot be made: {error.strerror}", "who may write to this folder?"
            ) from None
        return super().migrate()

    def _begin_migration(self, connection: Connection) -> None:
        """The transaction itself locks out all others that write."""

    def _copy(self, version: str) -> str | None:
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        copy = self.file.with_name(f"{FILE}.{version}-{now}")
        older = sorted(self.file.parent.glob(f"{FILE}.[0-9]*Z"), key=lambda file: file.stat().st_mtime)
        try:
            with contextlib.closing(self._connect()) as source:
                _make(copy, source)
            for file in older[: 1 - _COPIES]:
                state.remove(file)
        except OSError as error:
            raise StoreUnavailableError(
                f"{self.where} cannot be copied before it is migrated: {error.strerror}"
            ) from None
        return str(copy)

    def _watch(self, prefix: str, after: int) -> Watch:
        return _SqliteWatch(self, prefix, after)

    def _tell(self, connection: Connection) -> None:
        """Watches see that the file changes."""

    def _now(self) -> ColumnElement[float]:
        return literal(time.time())

    def _connect(self) -> sqlite3.Connection:
        try:
            found = self.file.lstat()
        except FileNotFoundError:
            raise StoreError(f"there is no store {self.file}", "make it: pylae store migrate") from None
        except OSError as error:
            raise StoreError(f"{self.where} cannot be opened: {error.strerror}") from None
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"{self.file} is not a file, and so not a store", "move away what is there")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise StoreError(f"other users can read or change {self.where}", f"chmod 600 {self.file}")
        connection = sqlite3.connect(
            f"file:{quote(str(self.file))}?mode=rw",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            # What is acknowledged outlives a power loss.
            connection.execute("pragma synchronous = full")
            connection.execute(f"pragma journal_size_limit = {_LONGEST_LOG}")
            connection.execute("pragma trusted_schema = off")
            if connection.execute("pragma journal_mode").fetchone() != ("wal",):
                raise StoreError(
                    f"{self.where} is not in the mode WAL, so its processes would block each other",
                    f"sqlite3 {self.file} 'pragma journal_mode = wal'; network file systems do not have it",
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _told(self, error: DBAPIError) -> StoreError:
        found = error.orig
        name = getattr(found, "sqlite_errorname", "")
        if name.startswith(_AWAY):
            hint = "another process has it locked" if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) else None
            return StoreUnavailableError(f"{self.where}: {found}", hint)
        if name.startswith(_DAMAGED):
            return StoreError(
                f"{self.where} is damaged: {found}", f"move {self.file} away, then: pylae store migrate, restore FILE"
            )
        if name.startswith(_FORBIDDEN):
            return StoreError(f"{self.where}: {found}", f"whose is it? ls -l {self.file.parent}")
        if "no such table" in str(found):
            return StoreError(f"{self.where} has no schema, or only a part of it", "make it: pylae store migrate")
        return StoreError(f"{self.where}: {found}")


class _SqliteWatch(SqlWatch):
    """Looks at the log of the file, and asks when it has changed."""

    def __init__(self, store: SqliteStore, prefix: str, after: int) -> None:
        super().__init__(store, prefix, after)
        self._files = (store.file, store.file.with_name(f"{FILE}-wal"))
        self._seen = self._look()

    def _look(self) -> list[tuple[int, int]]:
        seen = []
        for file in self._files:
            with contextlib.suppress(OSError):
                found = file.stat()
                seen.append((found.st_mtime_ns, found.st_size))
        return seen

    def _sleep(self, timeout: float) -> None:
        end = time.monotonic() + min(timeout, _ASK)
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK))
            seen = self._look()
            if seen != self._seen:
                self._seen = seen
                return


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("pylae_begin", "BEGIN"))


def _make(file: Path, source: sqlite3.Connection | None = None) -> None:
    """Makes a file for its owner alone, whole or not at all: empty, or as a copy. Keeps a file that exists.

    Raises OSError and sqlite3.Error.
    """
    with state.temporary(file) as (beside, descriptor), acting():
        with contextlib.closing(sqlite3.connect(beside, isolation_level=None)) as made:
            # Nothing else is left behind if this process is killed.
            made.execute("pragma journal_mode = memory")
            if source is None:
                made.execute("pragma journal_mode = wal")
            else:
                source.backup(made)
        os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(beside, file)
        state.settle(file.parent)
