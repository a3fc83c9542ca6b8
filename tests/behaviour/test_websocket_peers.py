"""WebSocket and server-sent events between programs that people use: websockets, uvicorn, Node, Chromium."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import create_connection
from typing import Any

import pytest
import yaml
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from pylae.auth import issue_token
from support.running import Process, Running
from support.servers import Receive, Scope, Send, uvicorn_instance
from support.tls import Authority

CHROMIUM = Path("/usr/bin/chromium")
EVENTS = b"".join(b"id: %d\ndata: event %d\n\n" % (number, number) for number in range(3))
ROUTES = """
limits: {drain_timeout: 20s}
policies: {compression: {min_size: 0}, cors: {}}
routes: [{name: all, prefix: /, service: all, websocket: {max_message: 2MB}}]
"""


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Echoes messages; `/events` sends three events, one after the other; anything else is a page."""
    if scope["type"] == "websocket":
        await _echo(scope, receive, send)
        return
    await receive()
    events = scope["path"] == "/events"
    kind = b"text/event-stream" if events else b"text/html"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    for piece in EVENTS.splitlines(keepends=True) if events else [b"<!doctype html><title>page</title>"]:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body"})


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    offered = scope["subprotocols"]
    await receive()
    await send({"type": "websocket.accept", "subprotocol": offered[0] if offered else None})
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "as told"})
            return
        await send({"type": "websocket.send", **({"bytes": message["bytes"]} if text is None else {"text": text})})


def _serve_echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@contextmanager
def websockets_instance() -> Iterator[str]:
    """The URL of a `websockets` server that echoes."""
    with serve(_serve_echo, "127.0.0.1", 0, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(params=["uvicorn", "websockets"])
def running(request: pytest.FixtureRequest, gateway: Callable[..., Running]) -> Iterator[Running]:
    """A gateway in front of an instance that echoes."""
    instance = uvicorn_instance(application, ws="auto") if request.param == "uvicorn" else websockets_instance()
    with instance as url:
        gateway_ = gateway(ROUTES, all=url)
        yield gateway_
        gateway_.stop()


def _address(running: Running | Process) -> str:
    return f"ws://{running.address}/x"


class TestWebsockets:
    @pytest.mark.parametrize("compression", ["deflate", None])
    def test_echo(self, compression: str | None, running: Running) -> None:
        with connect(_address(running), compression=compression, max_size=None) as socket:
            assert bool(socket.protocol.extensions) == (compression is not None)
            for message in ("", "hello ä", "x" * 100_000, b"", bytes(70_000), b"\xff" * 500_000):
                socket.send(message)
                assert socket.recv(timeout=15) == message
            socket.send(["in ", "several ", "pieces"])
            assert socket.recv(timeout=15) == "in several pieces"
            assert socket.ping().wait(15)
        assert socket.close_code == 1000

    def test_a_message_beyond_the_bound(self, running: Running) -> None:
        with connect(_address(running), compression=None, max_size=None) as socket:
            socket.send(bytes(2 * 2**20 + 1))
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=15)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009

    def test_many_at_once(self, running: Running) -> None:
        async def talk(number: int) -> None:
            async with connect_async(_address(running)) as socket:
                for turn in range(20):
                    await socket.send(f"{number} {turn}")
                    assert await socket.recv() == f"{number} {turn}"

        async def all_of_them() -> None:
            await asyncio.wait_for(asyncio.gather(*(talk(number) for number in range(50))), 60)

        asyncio.run(all_of_them())


def test_subprotocol_and_close_code(gateway: Callable[..., Running]) -> None:
    with uvicorn_instance(application, ws="auto") as url:
        running = gateway(ROUTES, all=url)
        with connect(_address(running), subprotocols=["chat", "other"]) as socket:  # type: ignore[list-item]
            assert socket.subprotocol == "chat"
            socket.send("close")
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=15)
            assert (socket.close_code, socket.close_reason) == (4001, "as told")


def test_over_tls_on_both_sides(gateway: Callable[..., Running], tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue("gateway", "gateway.test")
    with serve(_serve_echo, "127.0.0.1", 0, ssl=authority.server("localhost")) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"https://localhost:{server.socket.getsockname()[1]}"
        service = {"instances": [url], "tls": {"ca": str(authority.file)}}
        running = gateway(
            {
                "listeners": [{"address": "127.0.0.1:0", "tls": certificate}],
                "services": {"all": service},
                "routes": [{"prefix": "/", "service": "all", "websocket": True}],
            }
        )
        host, _, port = running.address.rpartition(":")
        plain = create_connection((host, int(port)))
        with connect("wss://gateway.test/x", sock=plain, ssl=authority.context()) as socket:
            for message in ("hello", bytes(300_000)):
                socket.send(message)
                assert socket.recv(timeout=15) == message
        assert socket.close_code == 1000
        running.stop()
        server.shutdown()
        thread.join()


def test_authentication_is_asked_for_at_the_handshake(gateway: Callable[..., Running]) -> None:
    secret = "a-secret-of-at-least-32-bytes-here"
    with websockets_instance() as url:
        running = gateway(
            {
                "auth": {"jwt": {"secret": secret, "algorithms": ["HS256"]}},
                "routes": [{"prefix": "/", "service": "all", "websocket": True, "auth_required": True}],
            },
            all=url,
        )
        with pytest.raises(InvalidStatus) as refused:
            connect(_address(running))
        assert refused.value.response.status_code == 401
        token = issue_token("ada", config=running.gateway.config)
        with connect(_address(running), additional_headers={"Authorization": f"Bearer {token}"}) as socket:
            socket.send("hello")
            assert socket.recv(timeout=15) == "hello"


def test_a_drain_under_load(gateway_process: Callable[..., Process]) -> None:
    """Every socket is closed in order, with 1001, and every echo that was begun before is right."""
    count = 40
    with websockets_instance() as url:
        running = gateway_process(ROUTES, all=url)
        codes: list[int | None] = []
        started = threading.Semaphore(0)

        async def talk() -> None:
            async with connect_async(_address(running)) as socket:
                turn = 0
                try:
                    while True:
                        await socket.send(f"{turn}")
                        assert await socket.recv() == f"{turn}"
                        turn += 1
                        if turn == 5:
                            started.release()
                except ConnectionClosed:
                    codes.append(socket.close_code)

        async def all_of_them() -> None:
            await asyncio.wait_for(asyncio.gather(*(talk() for _ in range(count))), 60)

        thread = threading.Thread(target=asyncio.run, args=(all_of_them(),))
        thread.start()
        for _ in range(count):
            assert started.acquire(timeout=30)
        running.process.terminate()
        thread.join()
        assert codes == [1001] * count
        assert running.wait() == 0


NODE = """
const socket = new WebSocket(process.argv[1], ["chat"]);
const got = [];
socket.binaryType = "arraybuffer";
socket.onopen = () => { socket.send("hello"); socket.send(new Uint8Array(70000)); };
socket.onmessage = (event) => {
    got.push(typeof event.data === "string" ? event.data : event.data.byteLength);
    if (got.length == 2) socket.send("close");
};
socket.onclose = (event) => console.log(JSON.stringify({ got, code: event.code, protocol: socket.protocol }));
"""
NODE_EVENTS = """
const answer = await fetch(process.argv[1], { headers: { accept: "text/event-stream" } });
let text = "";
for await (const piece of answer.body) text += new TextDecoder().decode(piece);
console.log(JSON.stringify(text));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_node(gateway: Callable[..., Running]) -> None:
    with uvicorn_instance(application, ws="auto") as url:
        running = gateway(ROUTES, all=url)

        def node(script: str, address: str) -> Any:
            words = ["node", "--experimental-websocket", "--input-type=module", "-e", script, address]
            done = subprocess.run(words, capture_output=True, timeout=60, check=True)
            return json.loads(done.stdout)

        assert node(NODE, _address(running)) == {"got": ["hello", 70000], "code": 4001, "protocol": "chat"}
        assert node(NODE_EVENTS, f"{running.url}/events") == EVENTS.decode()
        running.stop()


SOCKET_IN_PAGE = """(address) => new Promise((resolve) => {
    const socket = new WebSocket(address, ["chat"]), got = [];
    socket.onopen = () => { socket.send("x".repeat(100000)); socket.send("close"); };
    socket.onmessage = (event) => got.push(event.data.length);
    socket.onclose = (event) => resolve([got, event.code, event.reason, event.wasClean, socket.extensions]);
})"""
EVENTS_IN_PAGE = """(address) => new Promise((resolve) => {
    const source = new EventSource(address), got = [];
    source.onmessage = (event) => {
        got.push([event.lastEventId, event.data]);
        if (got.length == 3) { source.close(); resolve(got); }
    };
    source.onerror = () => resolve("error");
})"""
FETCH_IN_PAGE = """async (address) => {
    const reader = (await fetch(address)).body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "", piece;
    while (!(piece = await reader.read()).done) text += piece.value;
    return text;
}"""


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs Debian's chromium at {CHROMIUM}")
@pytest.mark.timeout(120)
def test_chromium(gateway: Callable[..., Running], tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with ExitStack() as stack:
        running = gateway(ROUTES, all=stack.enter_context(uvicorn_instance(application, ws="auto")))
        driver = stack.enter_context(playwright.sync_playwright())
        context = driver.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=CHROMIUM,
            headless=True,
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
        )
        stack.callback(context.close)
        page = context.new_page()
        page.goto(f"{running.url}/page")
        seen = page.evaluate(SOCKET_IN_PAGE, _address(running))
        assert seen[:4] == [[100000], 4001, "as told", True]
        assert seen[4].startswith("permessage-deflate")
        events = [[str(number), f"event {number}"] for number in range(3)]
        assert page.evaluate(EVENTS_IN_PAGE, f"{running.url}/events") == events
        assert page.evaluate(FETCH_IN_PAGE, f"{running.url}/events") == EVENTS.decode()


HEAD_IN_PAGE = """async (address) => {
    const answer = await fetch(address, { method: "POST", body: "x".repeat(1000000) });
    await answer.text();
    const [seen] = performance.getEntriesByName(address);
    return [answer.status, seen.nextHopProtocol];
}"""


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs Debian's chromium at {CHROMIUM}")
@pytest.mark.timeout(120)
def test_chromium_over_http2(gateway: Callable[..., Running], tmp_path: Path) -> None:
    """The same over TLS, where Chromium chooses HTTP/2 and opens its WebSocket on that connection (RFC 8441)."""
    playwright = pytest.importorskip("playwright.sync_api")
    pair = Authority(tmp_path).issue("gateway", "localhost")
    with ExitStack() as stack:
        url = stack.enter_context(uvicorn_instance(application, ws="auto"))
        listeners = {"listeners": [{"address": "127.0.0.1:0", "tls": pair}]}
        running = gateway({**yaml.safe_load(ROUTES), **listeners}, all=url)
        driver = stack.enter_context(playwright.sync_playwright())
        context = driver.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=CHROMIUM,
            headless=True,
            ignore_https_errors=True,
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
        )
        stack.callback(context.close)
        port = running.address.rpartition(":")[2]
        page = context.new_page()
        page.goto(f"https://localhost:{port}/page")
        assert page.evaluate(HEAD_IN_PAGE, f"https://localhost:{port}/post") == [200, "h2"]
        handshakes = running.gateway.stats()["totals"]["handshakes"]
        seen = page.evaluate(SOCKET_IN_PAGE, f"wss://localhost:{port}/x")
        assert seen[:4] == [[100000], 4001, "as told", True]
        # It was a stream of the connection that was there.
        assert running.gateway.stats()["totals"]["handshakes"] == handshakes
        events = [[str(number), f"event {number}"] for number in range(3)]
        assert page.evaluate(EVENTS_IN_PAGE, f"https://localhost:{port}/events") == events
        assert page.evaluate(FETCH_IN_PAGE, f"https://localhost:{port}/events") == EVENTS.decode()
