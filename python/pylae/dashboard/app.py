"""The dashboard as an application, and as a running server."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import uvicorn
from fastapi import FastAPI, Request
from nicegui import app as nicegui_app
from nicegui import ui
from starlette.types import ASGIApp

from pylae.dashboard.access import login
from pylae.dashboard.access.guard import Guard, session_of
from pylae.dashboard.access.sessions import Sessions
from pylae.dashboard.frame import framed
from pylae.dashboard.nodes import Node
from pylae.dashboard.pages import PAGES, Page

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def application(sessions: Sessions, names: Sequence[str], port: int) -> ASGIApp:
    """Returns the application. It answers for loopback and `names`, at this port. There is one in a process."""
    inner = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    inner.router.routes.extend(login.routes(sessions))
    for page in PAGES:
        _register(page)
    ui.run_with(
        inner,
        title="Pylae",
        favicon=_FAVICON,
        language="en-US",
        dark=None,
        binding_refresh_interval=None,
        # What a page shows is asked anew anyway, so little has to be sent again after a break.
        message_history_length=100,
        gzip_middleware_factory=None,
        tailwind=False,
        show_welcome_message=False,
    )
    nicegui_app.config.socket_io_js_transports = ["websocket"]
    hosts = frozenset(f"{name.lower()}:{port}" for name in (*_LOOPBACK, *names)) | frozenset(map(str.lower, names))
    return Guard(inner, sessions, hosts)


_FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0b5cad"/>'
    '<path d="M9 26V12a7 7 0 0 1 14 0v14M16 5v21" fill="none" stroke="#fff" stroke-width="3"/></svg>'
)


def _register(page: Page) -> None:
    async def show(request: Request) -> None:
        await framed(page, session_of(request.scope), request)

    ui.page(page.path, title=f"{page.title} · Pylae", response_timeout=15.0)(show)


def listening(host: str, port: int) -> socket.socket:
    """Listens at an address; port 0 picks a free one. Raises OSError."""
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128)


class Server:
    """A running dashboard."""

    def __init__(self, nodes: Sequence[Node], taken: socket.socket, names: Sequence[str] = ()) -> None:
        """`taken` is the listening socket; `names` are hosts, or `host:port`, by which browsers reach it."""
        self._socket = taken
        host = str(taken.getsockname()[0])
        self.port = int(self._socket.getsockname()[1])
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self.port}"
        """What people open."""
        self.sessions = Sessions(nodes)
        names = (*names, *(() if host in ("0.0.0.0", "::") else (shown,)))  # noqa: S104 (it is compared)
        config = uvicorn.Config(
            application(self.sessions, names, self.port),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws_max_size=8 * 1024 * 1024,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serves until SIGINT or SIGTERM."""
        self._server.run([self._socket])
