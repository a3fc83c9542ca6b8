"""Writes every exchange into an SQLite database: a log that can be asked questions."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pylae import Plugin, Request, Response
from pylae.hooks import on_request, on_response

_TABLE = """
CREATE TABLE IF NOT EXISTS exchange (
    at REAL NOT NULL, id TEXT NOT NULL, client TEXT NOT NULL, user TEXT, route TEXT NOT NULL,
    method TEXT NOT NULL, path TEXT NOT NULL, status INTEGER NOT NULL, seconds REAL NOT NULL
)
"""


class Settings(BaseModel):
    """What a configuration says about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path
    """The database; it is created if it is not there."""


class RequestLog(Plugin):
    """Notes when a request comes, and writes a row when its response goes."""

    Settings = Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._lock = threading.Lock()
        # Used by the threads of the pool, one at a time.
        self._database = sqlite3.connect(settings.file, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(_TABLE)

    @on_request
    def note(self, request: Request) -> None:
        """Remembers when it came."""
        request.state["request_log"] = time.time()

    # A database waits for its disk: not on a worker. A full disk is no reason not to answer.
    @on_response(blocking=True, on_error="skip")
    def write(self, request: Request, response: Response) -> None:
        """Writes the row. Queries may hold secrets and are left out."""
        at = request.state["request_log"]
        row = (
            at,
            request.id,
            request.client_ip,
            request.user.id if request.user else None,
            request.route,
            request.method,
            request.raw_path,
            response.status,
            time.time() - at,
        )
        with self._lock:
            self._database.execute("INSERT INTO exchange VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
