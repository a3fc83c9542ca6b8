"""A sink for OTLP, over HTTP with Protobuf or over gRPC."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from support.otlp.grpc_server import GrpcServer
from support.otlp.http_server import HttpServer
from support.otlp.received import Export, LogRecord, Point, Span, log_records, malformed, points, spans
from support.otlp.replies import Accept, Hang, Reply
from support.peer import PATIENCE

Found = TypeVar("Found")

PATHS = {f"/v1/{signal}": signal for signal in ("traces", "metrics", "logs")}
"""Where each signal goes over HTTP (OTLP, section "OTLP/HTTP Request")."""


class Sink:
    """Keeps what arrives, and does with each export what it is told.

    With replies each export, of whatever signal, gets the next one, and the last one for ever after; without, all are
    accepted. `tls` are a `cert` and its `key` (files), as `Authority.issue` gives them; `paths` says which signal goes
    where, over HTTP. An export that OTLP does not allow is refused, and fails the test when the sink stops.
    """

    def __init__(
        self,
        *replies: Reply,
        protocol: str = "http",
        tls: Mapping[str, str] | None = None,
        paths: Mapping[str, str] = PATHS,
    ) -> None:
        self.exports: list[Export] = []
        """All exports, taken or not, in the order in which they came."""
        self.spans: list[Span] = []
        """All spans that were taken."""
        self.points: list[Point] = []
        self.logs: list[LogRecord] = []
        self.malformed: list[str] = []
        self.paths = dict(paths)
        self.stopped = threading.Event()
        """Set when it stops: hanging calls end."""
        self._replies: list[Reply] = list(replies) or [Accept()]
        self._changed = threading.Condition()
        self._server = {"http": HttpServer, "grpc": GrpcServer}[protocol](self, tls)
        self.port: int = self._server.port
        self.url = f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{self.port}"
        """What `endpoint` takes."""

    def answers(self, *replies: Reply) -> None:
        """From the next export on, these replies; those that hang go on hanging."""
        with self._changed:
            self._replies = list(replies)

    def receive(self, signal: str, protocol: str, path: str, fields: dict[str, str], size: int, message: Any) -> Reply:
        """Keeps an export, and gives what to do with it. Called by the servers."""
        wrong = list(malformed(message))
        with self._changed:
            self.malformed += wrong
            reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
            taken = isinstance(reply, Accept)
            self.exports.append(Export(signal, protocol, path, fields, size, message, taken))
            if taken:
                match signal:
                    case "traces":
                        self.spans += spans(message)
                    case "metrics":
                        self.points += points(message)
                    case "logs":
                        self.logs += log_records(message)
            self._changed.notify_all()
        if isinstance(reply, Hang) or (isinstance(reply, Accept) and reply.delay):
            self.stopped.wait(None if isinstance(reply, Hang) else reply.delay)
        return reply

    def wait_for(self, look: Callable[[Sink], Found]) -> Found:
        """Looks after each export, until there is something that is true, and gives it."""
        with self._changed:
            assert self._changed.wait_for(lambda: look(self), PATIENCE), f"waited in vain; it has {self.summary()}"
            return look(self)

    def wait_for_spans(self, count: int = 1, **having: object) -> list[Span]:
        """Waits for so many spans that have these values, such as `name="GET /"`, and gives all that have."""

        def found(_: Sink) -> list[Span]:
            fitting = [span for span in self.spans if all(getattr(span, key) == is_ for key, is_ in having.items())]
            return fitting if len(fitting) >= count else []

        return self.wait_for(found)

    def summary(self) -> str:
        """What it has, in a few words."""
        names = [span.name for span in self.spans[-20:]]
        return (
            f"{len(self.exports)} exports, of which {sum(one.taken for one in self.exports)} were taken, "
            f"{len(self.points)} points, {len(self.logs)} log records, {len(self.spans)} spans, at the end {names}"
        )

    def clear(self) -> None:
        """Forgets what it has."""
        with self._changed:
            for kept in (self.exports, self.spans, self.points, self.logs):
                kept.clear()

    def stop(self) -> None:
        """Closes all connections, and refuses others."""
        self.stopped.set()
        self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self.stop()
        if kind is None:
            assert not self.malformed, "\n".join(self.malformed)
