"""What serves the admin API begins anew, whatever ends it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pylae import Gateway
from pylae.admin.guard import Guard
from pylae.state import local_socket
from support.admin import Admin
from support.instance import EchoInstance
from support.peer import PATIENCE, Peer, wait_until
from support.running import configure

Start = Callable[..., Admin]


def _raise(error: type[BaseException]) -> None:
    raise error


def _cancel_all() -> None:
    for task in asyncio.all_tasks():
        task.cancel()


ENDS: dict[str, Callable[[], None]] = {
    "exit": lambda: _raise(SystemExit),
    "interrupt": lambda: _raise(KeyboardInterrupt),
    "stop": lambda: asyncio.get_running_loop().stop(),
    "cancel": _cancel_all,
}


@pytest.fixture(params=ENDS)
def deadly(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a request for `/end` end the loop that serves it."""
    serve = Guard.__call__

    async def serve_or_end(self: Guard, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/end":
            asyncio.get_running_loop().call_soon(ENDS[request.param])
            await asyncio.Event().wait()
        await serve(self, scope, receive, send)

    monkeypatch.setattr(Guard, "__call__", serve_or_end)


Connect = Callable[[], socket.socket]


def _ask(connect: Connect, path: str, *fields: str) -> bytes:
    """What is answered until the end of the connection."""
    lines = "".join(f"{field}\r\n" for field in ("Host: localhost", "Connection: close", *fields))
    found = b""
    with connect() as peer:
        peer.settimeout(PATIENCE)
        peer.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        with suppress(ConnectionResetError):
            while piece := peer.recv(65536):
                found += piece
    return found


@pytest.mark.usefixtures("deadly")
def test_the_admin_api_comes_back(admin: Start, echo: EchoInstance, caplog: pytest.LogCaptureFixture) -> None:
    with admin(all=echo) as api:

        def connect() -> socket.socket:
            host, _, port = api.address.rpartition(":")
            return socket.create_connection((host, int(port)))

        credential = f"Authorization: Bearer {api.token}"
        for times in (1, 2, 3):
            assert b"200 OK" not in _ask(connect, "/end", credential)
            assert b"200 OK" in _ask(connect, "/status", credential)
            assert b'{"status":"live"}' in _ask(connect, "/live")
            assert f"\npylae_admin_restarts_total {times}\n" in api.running.gateway.metrics()
        said = [record for record in caplog.records if "the admin API has ended" in record.message]
        assert len(said) == 3
        assert all(record.exc_info for record in said)


@pytest.mark.usefixtures("deadly")
def test_so_does_the_socket_in_the_state_folder(echo: EchoInstance, tmp_path: Path) -> None:
    gateway = Gateway(**configure({"admin": False, "state": str(tmp_path)}, all=echo))
    gateway.start()
    try:

        def connect() -> socket.socket:
            return local_socket.connect(tmp_path, PATIENCE)

        for times in (1, 2, 3):
            assert b"200 OK" not in _ask(connect, "/end")
            assert b"200 OK" in _ask(connect, "/status")
            assert f"\npylae_admin_restarts_total {times}\n" in gateway.metrics()
    finally:
        gateway.stop(drain=False)
    assert [file.name for file in tmp_path.iterdir()] == ["history"]


def test_a_stop_ends_it_while_it_waits_to_begin_anew(
    admin: Start, echo: EchoInstance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It fails each time: the end does not wait for it."""

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("pylae.admin.loop.AdminLoop.run", fail)
    monkeypatch.setattr("pylae.admin.lasting.FIRST", 60.0)
    with admin(all=echo) as api:
        assert api.get("/live") == {"status": "live"}
        # It begins for the first one that the engine does not answer itself.
        with Peer.connect(api.address) as peer:
            peer.send(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until(lambda: "the admin API has ended" in caplog.text)
            api.running.stop()
