"""An ASGI application as a service of a test. It records its requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NoReturn, Self

from pylae.config.models.application import why_not_asgi
from pylae.registry.sources.application import ApplicationServer
from pylae.testing.headers import Headers
from pylae.testing.service import Answer, FakeService, Received

__all__ = ["ApplicationService"]

_LARGEST = 1024 * 1024
"""Largest request body, in bytes, to record. A larger one is not recorded."""
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class ApplicationService(FakeService):
    """A running ASGI application, such as one of FastAPI, on a free port of 127.0.0.1, with its lifespan.

    As with a `FakeService`, `requests` has the requests that it got. Use it as a context manager, or call `stop`.
    Raises TypeError if it is not an ASGI application, and EngineError if it does not start.
    """

    def __init__(self, application: Any) -> None:
        if (why := why_not_asgi(application)) is not None:
            raise TypeError(": ".join(part for part in why if part))
        self.application = application
        super().__init__()

    def _start(self) -> int:
        self._running = ApplicationServer("the application", self._remembering)
        self._running.start()
        return int(self._running.url.rpartition(":")[2])

    def _end(self) -> None:
        self._running.stop()

    def on(self, method: str, path: str, answer: Answer) -> NoReturn:  # noqa: ARG002 (those of a fake)
        """Raises TypeError: the application has its own paths."""
        raise TypeError("the application answers itself: add the path to the application")

    def in_turn(self, *answers: Answer) -> Self:  # noqa: ARG002 (those of a fake)
        """Raises TypeError: the application answers itself."""
        raise TypeError("the application answers itself, so the test cannot set its answers")

    async def _remembering(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        body = bytearray()
        noted = False

        def note() -> None:
            nonlocal noted
            if not noted:
                noted = True
                self._remember(_received(scope, bytes(body) if len(body) <= _LARGEST else b""))

        async def receiving() -> _Message:
            message = await receive()
            if message["type"] == "http.request" and len(body) <= _LARGEST:
                body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                note()
            return message

        async def sending(message: _Message) -> None:
            # A test that has the response finds the request here, even if the application did not read its body.
            note()
            await send(message)

        await self.application(scope, receiving, sending)


def _received(scope: _Message, body: bytes) -> Received:
    query = scope["query_string"].decode("latin-1")
    target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    return Received(scope["method"], target, Headers(fields), body)
