"""The admin API on the socket in the state folder. The user that the gateway runs as needs no token there."""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pylae.admin.lasting import Lasting
from pylae.config.document.include import Pattern
from pylae.engine import Taken
from pylae.state import running
from pylae.state.local_socket import Listening, is_trusted, user_of

if TYPE_CHECKING:
    from pylae.admin.loop import AdminLoop
    from pylae.runtime.runtime import Runtime

log = logging.getLogger("pylae.admin")

_AGAIN = 0.5
"""Seconds between two checks whether another gateway has released the folder."""


def start(runtime: Runtime) -> LocalServer | None:
    """Starts it. If the folder cannot hold a socket, the gateway runs without it."""
    try:
        return LocalServer(runtime)
    except OSError as error:
        log.warning(
            "no socket in the state folder %s (%s): `pylae status` and other commands need `--admin` and the token",
            runtime.folder, error.strerror or error,
        )  # fmt: skip
        return None


class LocalServer:
    """Listens from the start. It imports what serves requests when the first client connects."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._listening = Listening(runtime.folder)
        self._announced: Path | None = None
        self._woken, self._wake = os.pipe()
        self._lock = threading.Lock()
        self._loop: AdminLoop | None = None
        self.lasting = Lasting("pylae-local", "what serves the socket in the state folder", self._run)
        """The thread that serves it."""
        try:
            taken = self._take()
        except BaseException:
            self._close()
            raise
        if not taken:
            log.warning(
                "another gateway uses the state folder %s: `pylae status` and other commands reach that one until "
                "it ends; set `state` to give this one its own folder", runtime.folder,
            )  # fmt: skip
        self.lasting.start()

    @property
    def restarts(self) -> int:
        """How often the thread had ended and was started again."""
        return self.lasting.restarts

    def _take(self) -> bool:
        if not self._listening.take():
            return False
        try:
            self._announced = running.announce(self._origins(), self._runtime.folder)
        except OSError as error:
            log.info(
                "the place of this gateway could not be recorded (%s): use `--state %s` to reach it",
                error,
                self._runtime.folder,
            )
        return True

    def _origins(self) -> list[Path]:
        """Returns the names by which a person may refer to it: the file or program, and what such a program has
        read.
        """
        main = getattr(sys.modules.get("__main__"), "__file__", None)
        files = [self._runtime.origin, *self._runtime.builder.written_in, *([Path(main)] if main else [])]
        return list(dict.fromkeys(file.absolute() for file in files if not isinstance(file, Pattern)))

    def _run(self) -> None:
        listening = self._wait_for_the_folder()
        if listening is not None and self._wait_for_somebody(listening):
            self._serve(listening)

    def _wait_for_the_folder(self) -> socket.socket | None:
        """Returns None if it was stopped meanwhile."""
        while self._listening.socket is None:
            if self.lasting.stopped.wait(_AGAIN):
                return None
            if self._take():
                log.info("this gateway uses the state folder now: %s", self._runtime.folder)
        return self._listening.socket

    def _wait_for_somebody(self, listening: socket.socket) -> bool:
        """Returns false if it was stopped meanwhile."""
        with selectors.DefaultSelector() as selector:
            for one in (listening, self._woken):
                selector.register(one, selectors.EVENT_READ)
            selector.select()
        return not self.lasting.stopped.is_set()

    def _serve(self, listening: socket.socket) -> None:
        from pylae.admin.app import application
        from pylae.admin.connection import Connection
        from pylae.admin.guard import Guard
        from pylae.admin.loop import AdminLoop

        class LocalConnection(Connection):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                connection = transport.get_extra_info("socket")
                if not is_trusted(connection):
                    self.close()
                # The guard finds it where others have the address of the client.
                user = user_of(connection)
                self.client = (user, 0) if user else None

        listening.setblocking(False)

        def accepted() -> Taken | None:
            try:
                return listening.accept()[0], None
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return None

        def own_token() -> str | None:
            admin = self._runtime.admin
            return admin.token if admin is not None else None

        tokens = self._runtime.access.tokens
        guard = Guard(application(self._runtime), None, frozenset(), tokens, unix=True, own=own_token)
        loop = AdminLoop(guard, LocalConnection, listening.fileno(), accepted)
        with self._lock:
            if self.lasting.stopped.is_set():
                return
            self._loop = loop
        loop.run()

    def stop(self) -> None:
        """Ends it, and releases the folder."""
        with self._lock:
            if self.lasting.stopped.is_set():
                return
            self.lasting.stopped.set()
            if self._loop is not None:
                self._loop.should_exit = True
            os.write(self._wake, b"\0")
        self.lasting.join()
        self._close()

    def _leave(self) -> None:
        # A forked child has no socket any more, and the gateway's records are not its own.
        if self._announced is not None and self._listening.socket is not None:
            with suppress(OSError):
                self._announced.unlink()
        self._listening.close()

    def _close(self) -> None:
        self._leave()
        for descriptor in (self._woken, self._wake):
            os.close(descriptor)
