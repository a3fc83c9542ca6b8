"""An instance that is an ASGI application in this process."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
from typing import TYPE_CHECKING, Any

from pylae.config.models.instance import Instance
from pylae.errors import EngineError
from pylae.registry.source import Source, SourceContext, SourceSettings

if TYPE_CHECKING:
    import uvicorn

_START = 30.0
"""Seconds that an application may take to start (its lifespan)."""
_LINGER = 1.0
"""Seconds that one whose place was taken goes on, for requests that were on their way to it."""
_DRAIN = 5
"""Seconds that its requests, and then its lifespan, may take to end."""


class ApplicationServer:
    """Serves an ASGI application on a free port of 127.0.0.1, on a thread and a loop of its own."""

    def __init__(self, what: str, application: Any) -> None:
        """`what` it is stands in messages."""
        self._what, self._application = what, application
        self.url = ""
        """Where it answers, once it is started."""
        self._server: uvicorn.Server | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    @property
    def serves(self) -> bool:
        """Whether it has started and not ended."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Starts it, its lifespan included. Raises EngineError."""
        import uvicorn

        ready = self._ready

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                ready.set()

        listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings = uvicorn.Config(
            self._application,
            # Its records go where those of the program go; of each request the gateway has one.
            log_config=None, log_level="warning", access_log=False,
            interface="asgi3", timeout_graceful_shutdown=_DRAIN,
        )  # fmt: skip
        self._server = Server(settings)
        self._thread = threading.Thread(
            target=self._run, args=(self._server, listening), name="pylae-application", daemon=True
        )
        self._thread.start()
        started = self._ready.wait(_START)
        if not started or not self._server.started:
            self.stop()
            why = f"within {_START:.0f} s" if not started else "its lifespan failed, as the log says"
            if self._failure is not None:
                why = f"{type(self._failure).__name__}: {self._failure}"
            raise EngineError(f"{self._what} did not start: {why}")

    def _run(self, server: uvicorn.Server, listening: socket.socket) -> None:
        try:
            with listening:
                asyncio.run(server.serve([listening]))
        except SystemExit:
            # How uvicorn ends where a lifespan fails, which it has logged.
            return
        except BaseException as error:  # told by `start`
            self._failure = error
        finally:
            self._ready.set()

    def stop(self) -> None:
        """Takes no more requests, lets those under way end, and then its lifespan. May be called again."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        if threading.current_thread() is not self._thread:
            self._thread.join(2 * _DRAIN)


class ApplicationSource(Source[SourceSettings]):
    """The one instance that an application is."""

    Settings = SourceSettings

    def __init__(self, application: Any, context: SourceContext) -> None:
        super().__init__(SourceSettings(), context)
        self.application = application
        self.due = math.inf
        self._server = ApplicationServer(f"the application of the service {context.service}", application)

    @property
    def trouble(self) -> str | None:
        """As `Source.trouble`."""
        return None if self._server.serves else "the application has ended"

    async def look(self, now: float) -> bool:  # noqa: ARG002
        """There is nothing to look for: it is here."""
        return False

    def start(self) -> None:
        """Starts the application. Raises EngineError."""
        self._server.start()
        self.instances = (Instance(url=self._server.url),)

    def stop(self) -> None:
        """Ends the application."""
        self._server.stop()

    def stop_later(self) -> None:
        """Ends it once nothing can be on its way to it any more."""
        later = threading.Timer(_LINGER, self.stop)
        later.daemon = True
        later.start()
