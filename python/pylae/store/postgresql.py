"""PostgreSQL: a schema of its own in a database that several nodes share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from sqlalchemy import ColumnElement, Connection, Double, cast, create_engine, func, select
from sqlalchemy.exc import DBAPIError

from pylae.errors import StoreError, StoreUnavailableError
from pylae.store.settings import StoreSettings, StoreUrl
from pylae.store.sql import POOL, SqlStore, SqlWatch
from pylae.store.store import Watch

RV = TypeVar("RV")

_ASK = 1.0
"""Seconds after which a watch asks, even if the server has told it nothing."""
_MIGRATIONS = 0x70796C61
"""The advisory lock that a migration takes."""
_HINTS: Mapping[str, str] = {
    "28P01": "are `user` and `password` right?",
    "28000": "does pg_hba.conf let this user in from here?",
    "3D000": "create the database; Pylae makes only a schema in it",
    "42501": "the user must own the schema, or may create it: grant create on database … to …",
    "42P01": "make or repair the schema: pylae store migrate",
    "42703": "make or repair the schema: pylae store migrate",
}
"""What to do, by SQLSTATE (PostgreSQL manual, appendix A)."""
_TEXTS = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("pg_hba.conf", "28000"),
    ("does not exist", "3D000"),
    ("permission denied", "42501"),
)
"""What servers say, in English, when they let nobody in: libpq does not tell the SQLSTATE then."""
_AWAY = ("08", "40", "53", "55P03", "57", "58", "25006")
"""Beginnings of the SQLSTATE of what goes away by itself, or by an operator: connections, deadlocks, shortages, locks,
time-outs and stops, and a server that is a replica."""


class _Connection(psycopg.Connection[Any]):
    """A connection that is closed if the server does not answer. Its own time-outs do not help if it hangs."""

    patience = 0.0

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """As the same method of psycopg; without a `timeout`, within `patience` seconds."""
        if timeout is not None or not self.patience:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience)
        except errors._WaitTimeout:
            self.pgconn.finish()
            raise psycopg.OperationalError("the server does not answer") from None


class PostgresqlStore(SqlStore):
    """A store in PostgreSQL. Notifications only wake watches: if one is lost, they are a second late."""

    def __init__(self, settings: StoreSettings, url: StoreUrl, base: Path) -> None:
        """`base` is the folder that names of files are relative to."""
        self._options = _options(settings, url, base)
        self._timeout = settings.timeout.total_seconds()
        self.name = url.name
        self.channel = f"pylae_{url.name}"
        engine = create_engine(
            "postgresql+psycopg://", creator=self.connect, pool_timeout=self._timeout, pool_pre_ping=True, **POOL
        )
        super().__init__(f"the store {url}", engine, reads={"isolation_level": "REPEATABLE READ"}, writes={})

    def connect(self) -> psycopg.Connection[Any]:
        """Opens a connection. Raises psycopg.Error."""
        connection = _Connection.connect(**self._options)
        # The server ends a statement before: its error says more.
        connection.patience = 2 * self._timeout
        return connection

    def _begin_migration(self, connection: Connection) -> None:
        connection.execute(select(func.pg_advisory_xact_lock(_MIGRATIONS)))
        # It may take as long as it takes. Nobody uses this connection afterwards.
        opened = connection.connection.driver_connection
        connection.detach()
        if isinstance(opened, _Connection):
            opened.patience = 0.0
        connection.exec_driver_sql("set local statement_timeout = 0")
        found = select(func.to_regnamespace(self.name).is_(None))
        if connection.execute(found).scalar_one():
            connection.exec_driver_sql(f"create schema {self.name}")

    def _copy(self, version: str) -> str | None:
        """A copy is the operator's: pg_dump, or `pylae store backup`."""

    def _watch(self, prefix: str, after: int) -> Watch:
        return _PostgresqlWatch(self, prefix, after)

    def _tell(self, connection: Connection) -> None:
        connection.execute(select(func.pg_notify(self.channel, "")))

    def _now(self) -> ColumnElement[float]:
        return cast(func.extract("epoch", func.clock_timestamp()), Double)

    def _told(self, error: DBAPIError) -> StoreError:
        return self.told(error.orig)

    def told(self, error: BaseException | None) -> StoreError:
        """Returns what an error of psycopg means."""
        state = getattr(error, "sqlstate", None) or next((one for text, one in _TEXTS if text in str(error)), None)
        lines = str(error).strip().splitlines()
        text = f"{self.where}: {lines[0] if lines else type(error).__name__}"
        if state is None or state.startswith(_AWAY):
            return StoreUnavailableError(
                text, "does the server run, and does it let this machine in?" if state is None else None
            )
        return StoreError(text, _HINTS.get(state))


class _PostgresqlWatch(SqlWatch):
    """Listens on a connection of its own."""

    def __init__(self, store: PostgresqlStore, prefix: str, after: int) -> None:
        super().__init__(store, prefix, after)
        self._postgresql = store
        self._connection: psycopg.Connection[Any] | None = None

    def _sleep(self, timeout: float) -> None:
        try:
            if self._connection is None:
                connection = self._postgresql.connect()
                self._connection = connection
                connection.autocommit = True
                connection.execute(f"listen {self._postgresql.channel}".encode())
                # What has come between the last look and this is not told.
                return
            for _ in self._connection.notifies(timeout=min(timeout, _ASK), stop_after=1):
                pass
        except psycopg.Error as error:
            self._hang_up()
            raise self._postgresql.told(error) from error

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """As `Watch.close`."""
        self._hang_up()
        super().close()


def _options(settings: StoreSettings, url: StoreUrl, base: Path) -> dict[str, Any]:
    """Returns the keywords of libpq (PostgreSQL manual, 34.1.2)."""
    milliseconds = max(1, round(settings.timeout.total_seconds() * 1000))
    session = {
        "search_path": url.name,
        "statement_timeout": milliseconds,
        "lock_timeout": milliseconds,
        "idle_in_transaction_session_timeout": 60_000,
        # What is acknowledged outlives a power loss, whatever the server does otherwise.
        "synchronous_commit": "on",
    }
    options: dict[str, Any] = {
        "host": ",".join(host for host, _ in url.servers),
        "port": ",".join(str(port) for _, port in url.servers),
        "dbname": url.database,
        "target_session_attrs": "read-write",
        "connect_timeout": max(2, round(settings.timeout.total_seconds())),
        "application_name": "pylae",
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "options": " ".join(f"-c {name}={value}" for name, value in session.items()),
        "sslmode": "disable",
        "gssencmode": "disable",
    }
    if settings.user is not None:
        options["user"] = settings.user
    if settings.password is not None:
        options["password"] = settings.password.get_secret_value()
    if url.tls:
        tls = settings.transport
        files = {"sslrootcert": tls.ca, "sslcert": tls.cert, "sslkey": tls.key}
        options |= {name: str(base / Path(file).expanduser()) for name, file in files.items() if file}
        options.setdefault("sslrootcert", "system")
        options["sslmode"] = "verify-full" if tls.verify else "require"
        if not tls.verify:
            del options["sslrootcert"]
        options["ssl_min_protocol_version"] = f"TLSv{tls.min_version}"
    return options
