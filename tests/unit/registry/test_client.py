"""What asks HTTP APIs, where the names of the system or a server that says nothing would keep it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylae import ConfigError
from pylae.registry import client
from pylae.registry.client import ApiClient, ApiError, RefusedError
from pylae.registry.sources.consul import ConsulDiscovery


def trouble(one: ApiClient, **more: Any) -> str:
    async def ask() -> None:
        await one.get("/", **{"patience": 10.0, **more})

    with pytest.raises(ApiError) as caught:
        asyncio.run(ask())
    return str(caught.value)


def test_a_name_that_is_looked_up_for_long_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a thread that nobody waits for: the loop ends although the system still asks its name servers."""
    asked, goes_on = threading.Semaphore(0), threading.Event()

    def look_up(*_: Any, **__: Any) -> list[Any]:
        asked.release()
        assert goes_on.wait(30)
        return []

    monkeypatch.setattr(client, "socket", SimpleNamespace(getaddrinfo=look_up, SOCK_STREAM=socket.SOCK_STREAM))
    one = ApiClient("http://slow.test:1")
    try:
        assert trouble(one, patience=0.01) == "http://slow.test:1 does not answer in time"
        assert trouble(one) == "http://slow.test:1 cannot be reached (its name is still being looked up)"
        assert asked.acquire(timeout=10)
        assert not asked.acquire(blocking=False)
    finally:
        goes_on.set()


def test_a_name_is_looked_up_again_as_soon_as_there_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that has answered may be there for a while yet, on a machine that has much to do."""
    asked, goes_on = [], threading.Event()

    def look_up(*_: Any, **__: Any) -> list[Any]:
        asked.append(threading.current_thread())
        return []

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        hand_over = loop.call_soon_threadsafe

        def linger(*answer: Any) -> None:
            hand_over(*answer)
            assert goes_on.wait(30)

        monkeypatch.setattr(loop, "call_soon_threadsafe", linger)
        for _ in range(2):
            with pytest.raises(ApiError, match=r"quick\.test has no address"):
                await one.get("/", patience=10.0)

    monkeypatch.setattr(client, "socket", SimpleNamespace(getaddrinfo=look_up, SOCK_STREAM=socket.SOCK_STREAM))
    one = ApiClient("http://quick.test:1")
    try:
        asyncio.run(ask())
    finally:
        goes_on.set()
        for thread in asked:
            thread.join()
    assert len(asked) == 2


def test_a_name_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(client, "socket", SimpleNamespace(getaddrinfo=look_up, SOCK_STREAM=socket.SOCK_STREAM))
    assert (
        trouble(ApiClient("http://none.test:1")) == "http://none.test:1 cannot be reached (Name or service not known)"
    )


def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = [(0, 0, 0, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")]
        names = SimpleNamespace(getaddrinfo=lambda *_, **__: found, SOCK_STREAM=socket.SOCK_STREAM)
        monkeypatch.setattr(client, "socket", names)
        one = ApiClient(f"http://two.test:{port}")

        async def ask() -> bytes:
            loop = asyncio.get_running_loop()
            asking = asyncio.create_task(one.get("/a", [("b", "c d")], {"X": "y"}, patience=10))
            server.setblocking(False)
            connection, _ = await loop.sock_accept(server)
            with connection:
                head = await loop.sock_recv(connection, 1000)
                await loop.sock_sendall(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                # It has all that it was promised, and does not wait for the end of the connection.
                assert (await asking).body == b"ok"
            return head

        lines = ["GET /a?b=c+d HTTP/1.1", f"Host: two.test:{port}", "User-Agent: pylae", "Connection: close", "X: y"]
        assert asyncio.run(ask()).decode().splitlines() == [*lines, ""]


def test_a_stream_that_is_refused_says_why_in_pieces() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        async def ask() -> str:
            loop = asyncio.get_running_loop()
            asking = asyncio.create_task(ApiClient(url).stream("/events", patience=10))
            connection, _ = await loop.sock_accept(server)
            with connection:
                await loop.sock_recv(connection, 1000)
                for piece in (b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\nnot\r\n", b"0\r\n\r\n"):
                    await loop.sock_sendall(connection, piece)
                    # So that it has this piece before the next one.
                    await asyncio.sleep(0)
            with pytest.raises(RefusedError) as caught:
                await asking
            return str(caught.value)

        assert asyncio.run(ask()) == f"{url} refuses with 403: not"


def test_a_head_without_an_end_is_read_no_further() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        async def ask() -> str:
            loop = asyncio.get_running_loop()
            asking = asyncio.create_task(ApiClient(url).get("/", patience=10))
            connection, _ = await loop.sock_accept(server)
            with connection, pytest.raises(ApiError) as caught:
                await loop.sock_sendall(connection, b"HTTP/1.1 200 OK\r\nA: " + b"b" * 300_000)
                await asking
            return str(caught.value)

        assert asyncio.run(ask()) == f"{url} does not answer as HTTP has it"


def test_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert trouble(ApiClient(url), patience=0.01) == f"{url} does not answer in time"


def test_files_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no PEM")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
        assert "has no PEM in it" in trouble(ApiClient(url, ca=tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("http://Consul:8500/", "http://consul:8500"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]:443"),
        ("tcp://127.0.0.1:2375", "http://127.0.0.1:2375"),
        ("unix:///run/a.sock", "unix:/run/a.sock"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
    ],
)
def test_addresses(written: str, address: str) -> None:
    assert ConsulDiscovery(service="a", address=written).address == address


@pytest.mark.parametrize(
    "written", ["", "ftp://a", "http://", "http://a b", "http://a?b", "unix:", "unix:/" + "a" * 200]
)
def test_addresses_that_are_none(written: str) -> None:
    with pytest.raises(ConfigError):
        ConsulDiscovery(service="a", address=written)


HEADS = (b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 403 No\r\n", b"HTTP/1.1 100 Go on\r\n\r\n", b"HTTP/9 x\r\n")
FIELDS = (
    *(b"Content-Length: 3\r\n", b"Content-Length: -1\r\n", b"Content-Length: 9223372036854775808\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b" folded\r\n", b"\xff: \x00\r\n"),
)
BODIES = (b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"-1\r\n", b"ffffffffffffffff\r\n")


def replies() -> st.SearchStrategy[bytes]:
    fields = st.lists(st.sampled_from(FIELDS), max_size=3).map(b"".join)
    parts = st.tuples(st.sampled_from(HEADS), fields, st.just(b"\r\n"), st.sampled_from(BODIES))
    return st.binary(max_size=200) | parts.map(b"".join)


@given(replies(), st.integers(1, 50))
def test_whatever_comes_is_a_reply_or_an_error(data: bytes, size: int) -> None:
    """In pieces of any size."""

    async def read() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        one = ApiClient("http://127.0.0.1:1")
        with contextlib.suppress(ApiError), one._told():
            found = await client._reply(reader, 100)
            assert len(found.body) <= 100
            assert found.said().isprintable()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_PIECE", size)
        asyncio.run(read())
