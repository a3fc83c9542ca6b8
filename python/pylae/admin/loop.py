"""The event loop that serves connections which others have accepted."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn

from pylae.admin.connection import Connection
from pylae.admin.guard import Guard
from pylae.engine import Ends, Taken

log = logging.getLogger("pylae.admin")

_AT_ONCE = 64
"""Connections to take before other tasks get their turn."""
_PAUSE = 1.0
"""Seconds before the next attempt if connections could not be taken."""


class AdminLoop(uvicorn.Server):
    """Serves the application behind a guard.

    It takes connections with `take`, which returns None if there are no more, whenever `watched` is readable.
    """

    def __init__(
        self, guard: Guard, connection: type[Connection], watched: int, take: Callable[[], Taken | None]
    ) -> None:
        config: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off", "ws": "none"}
        config |= {"server_header": False, "proxy_headers": False, "timeout_graceful_shutdown": 1}
        super().__init__(uvicorn.Config(guard, http=connection, **config))
        self._connection, self._watched, self._next = connection, watched, take
        self._attaching: set[asyncio.Task[None]] = set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until it is told to exit, or something ends the loop."""
        loop = asyncio.get_running_loop()
        try:
            await super().serve(sockets)
        finally:
            loop.remove_reader(self._watched)
            # Nothing else closes the connections of a loop that ends.
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to take connections."""
        await super().startup(sockets or [])
        asyncio.get_running_loop().add_reader(self._watched, self._take)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops taking connections, and lets those that are open finish."""
        asyncio.get_running_loop().remove_reader(self._watched)
        await super().shutdown(sockets)

    def _take(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_AT_ONCE):
            try:
                taken = self._next()
            except OSError as error:
                log.warning("a connection to the admin API could not be accepted: %s", error.strerror or error)
                loop.remove_reader(self._watched)
                loop.call_later(_PAUSE, self._take_again)
                return
            if taken is None:
                return
            task = loop.create_task(self._attach(*taken))
            self._attaching.add(task)
            task.add_done_callback(self._attaching.discard)

    def _take_again(self) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(self._watched, self._take)

    async def _attach(self, taken: socket.socket, ends: Ends | None) -> None:
        attached = False
        try:
            with suppress(OSError):  # it has ended already
                await asyncio.get_running_loop().connect_accepted_socket(lambda: self._protocol(ends), taken)
                attached = True
        finally:
            if not attached:
                taken.close()

    def _protocol(self, ends: Ends | None) -> asyncio.Protocol:
        state = self.lifespan.state
        return self._connection(config=self.config, server_state=self.server_state, app_state=state, ends=ends)
