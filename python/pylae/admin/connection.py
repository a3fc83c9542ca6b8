"""Connections to the admin API, with limits on their number and on the time that a request may take to arrive."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import h11  # uvicorn brings it, and is made of it
from uvicorn.protocols.http.h11_impl import H11Protocol

from pylae.admin import bounds, problems
from pylae.admin.guard import ALWAYS
from pylae.engine import Ends

_INVALID = "this is not a valid HTTP/1.1 request; it needs exactly one `Host`, and a head of at most 64 KB"


_order = itertools.count()
"""What came before what: the clocks of event loops stand still while callbacks run."""


class Connection(H11Protocol):
    """A connection that closes if a request does not arrive in time, so that clients without a token cannot block
    others.
    """

    def __init__(self, *args: Any, ends: Ends | None = None, **kwargs: Any) -> None:
        """`ends` are the addresses of a connection whose TLS the engine ends."""
        super().__init__(*args, **kwargs)
        self._ends = ends
        self._awaited: object = None
        self._since = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called when the connection begins."""
        super().connection_made(transport)
        if self._ends is not None:
            self.client, self.server, self.scheme = *self._ends, "https"
        self._watch()
        if len(self.connections) > bounds.CONNECTIONS:
            waiting = (one for one in self.connections if isinstance(one, Connection) and one._awaited is h11.IDLE)
            min(waiting, key=lambda one: one._since).close()

    def data_received(self, data: bytes) -> None:
        """Called when data arrives."""
        super().data_received(data)
        self._watch()

    def send_400_response(self, _msg: str) -> None:
        """Refuses what is no request, as everything else is refused."""
        body = problems.body(400, _INVALID)
        fields = [(b"content-type", problems.MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        start = h11.Response(
            status_code=400, headers=[*fields, *ALWAYS, (b"connection", b"close")], reason=b"Bad Request"
        )
        for event in (start, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def on_response_complete(self) -> None:
        """Called when a request has been answered."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection has ended."""
        self._stop_watching()
        super().connection_lost(exc)

    def close(self) -> None:
        """Closes the connection at once."""
        self.connections.discard(self)
        self.transport.abort()

    def _watch(self) -> None:
        """Starts the timeout for what the connection waits for now."""
        awaited = self.conn.their_state
        if awaited is self._awaited:
            return
        self._stop_watching()
        self._awaited, self._since = awaited, next(_order)
        if awaited is h11.IDLE:
            self._timer = self.loop.call_later(bounds.HEAD_TIME, self.close)
        elif awaited is h11.SEND_BODY:
            self._timer = self.loop.call_later(bounds.BODY_TIME, self.close)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
