"""Clients that read slowly or not at all (`threats.md`). What the gateway's kernel holds for them is not read."""

from __future__ import annotations

import contextlib
import json
import select
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.frames import BINARY, Opener, frame
from support.h2client import FramePeer
from support.instance import RawInstance
from support.peer import Message, Peer, accepts, wait_until
from support.running import Running
from support.tls import Authority

Start = Callable[..., Running]

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
RECEIVE_BUFFER = 4096
PIECE = 40_000
"""Bytes that a slow client reads at a time."""
LARGE, REST = 20_000_000, 100_000
"""Sizes of bodies: one that no kernel takes as a whole, and one that it takes although nobody reads it."""
STRICT: dict[str, Any] = {"body_grace": "300ms", "min_rate": "1MB"}
"""Limits that a client which reads nothing breaks soon."""


def answer(size: int, *fields: str) -> bytes:
    """An answer with a body of this size."""
    lines = "".join(f"{field}\r\n" for field in fields)
    return f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n{lines}\r\n".encode() + bytes(size)


class Instance(RawInstance):
    """Answers with a large body, and says when the gateway takes no more of it."""

    def __init__(self, size: int = LARGE) -> None:
        self.stalled = threading.Event()
        self._body = memoryview(answer(size))
        super().__init__(self._send)

    def _send(self, peer: Peer, _: Message) -> None:
        left = self._body
        peer.socket.settimeout(0.5)
        while left:
            try:
                left = left[peer.socket.send(left) :]
            except TimeoutError:
                self.stalled.set()
        peer.socket.settimeout(None)


class Client:
    """A client with a small buffer, and what the gateway's kernel holds for it."""

    def __init__(self, running: Running, context: ssl.SSLContext | None = None) -> None:
        peer = running.connect(receive_buffer=RECEIVE_BUFFER)
        self.scheme = "https" if context else "http"
        self._ports = peer.socket.getpeername()[1], peer.socket.getsockname()[1]
        if context:
            secured = context.wrap_socket(peer.socket, server_hostname="gateway.test")
            # Otherwise the module hides an end that was not announced.
            secured.suppress_ragged_eofs = False
            peer = Peer(secured)
        self.peer = peer
        self._poll = select.poll()
        self._poll.register(peer.socket, 0)

    @property
    def held(self) -> int | None:
        """Bytes in the gateway's kernel that ours has not acknowledged; None if the kernel has no such connection."""
        for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
            _, local, remote, _, queues, *_ = line.split()
            if self._ports == (int(local.partition(":")[2], 16), int(remote.partition(":")[2], 16)):
                return int(queues.partition(":")[0], 16)
        return None

    def is_reset(self) -> bool:
        """Whether the connection was reset. An end in order would wait behind what is unread."""
        return any(event & select.POLLERR for _, event in self._poll.poll(0))

    def wait_for_reset(self) -> None:
        """Waits for a reset, behind which nothing of the connection is left."""
        wait_until(self.is_reset)
        assert self.held is None
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            self.peer.read_all()


@pytest.fixture(params=["plain", "tls"])
def clients(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Clients]:
    """Clients that speak TLS, and such that do not."""
    with contextlib.ExitStack() as stack:
        yield Clients(Authority(tmp_path) if request.param == "tls" else None, tmp_path / "access.log", stack)


class Clients:
    """Configurations, and clients of gateways that have them."""

    def __init__(self, authority: Authority | None, log: Path, stack: contextlib.ExitStack) -> None:
        self._authority = authority
        self._log = log
        self._stack = stack

    def configuration(self, limits: dict[str, Any] | None = None, **route: Any) -> dict[str, Any]:
        """A gateway with one route, and a second listener that is always a plain one."""
        first: dict[str, Any] = {"address": "127.0.0.1:0", "http2": True}
        if self._authority:
            first["tls"] = self._authority.issue("gateway", "gateway.test")
        return {
            "listeners": [first, "127.0.0.2:0"],
            "limits": {"head_timeout": "1s", **(limits or {})},
            "policies": {"access_log": {"output": str(self._log)}},
            "routes": [{"name": "all", "prefix": "/", "service": "all", **route}],
        }

    def connect(self, running: Running, *protocols: str) -> Client:
        """A client of the first listener."""
        context = self._authority.context() if self._authority else None
        if context and protocols:
            context.set_alpn_protocols(protocols)
        client = Client(running, context)
        self._stack.callback(client.peer.close)
        return client

    def frames(self, running: Running) -> tuple[Client, FramePeer]:
        """A client of the first listener that speaks HTTP/2, with windows that are never full."""
        client = self.connect(running, "h2")
        peer = FramePeer.on(client.peer.socket, client.scheme, window=2**31 - 1)
        peer.connection.increment_flow_control_window(2**31 - 1 - 65535)
        peer.flush()
        return client, peer

    def logged(self, running: Running) -> list[tuple[int, str | None, bool]]:
        """Status, code and completeness of every exchange, once the gateway is stopped."""
        running.stop(drain=True)
        lines = map(json.loads, self._log.read_text(encoding="utf-8").splitlines())
        return [(line["status"], line["code"], line["complete"]) for line in lines]


def pass_time(running: Running, seconds: float) -> None:
    """Lets time pass. Returns once the gateway has noticed, and closed a connection that said nothing since before."""
    counted = running.gateway.stats()["totals"]["connections_accepted"]
    with Peer.connect(running.addresses[1]) as silent:
        wait_until(lambda: running.gateway.stats()["totals"]["connections_accepted"] > counted)
        running.advance(seconds)
        assert silent.at_end()


def totals(running: Running) -> dict[str, Any]:
    """What the gateway has counted."""
    return dict(running.gateway.stats()["totals"])


def test_one_who_reads_nothing_is_cut_off_by_a_reset(clients: Clients, gateway: Start) -> None:
    with Instance() as instance:
        running = gateway(clients.configuration(STRICT), all=instance)
        client = clients.connect(running)
        client.peer.send(GET)
        client.wait_for_reset()
        wait_until(lambda: totals(running)["connections"] == 0)
        assert clients.logged(running) == [(200, "client_too_slow", False)]


def test_what_the_kernel_takes_for_one_who_reads_nothing_is_bounded(clients: Clients, gateway: Start) -> None:
    with Instance() as instance:
        running = gateway(clients.configuration(), all=instance)
        client = clients.connect(running)
        client.peer.send(GET)
        assert instance.stalled.wait(15)
        held = client.held
        assert held
        assert held < 200_000


def test_what_is_read_of_what_the_kernel_holds_is_read(clients: Clients, gateway: Start) -> None:
    """For a while the kernel takes nothing more, but the client goes on to read, eight times as fast as it must."""
    with Instance() as instance:
        running = gateway(clients.configuration(), all=instance)
        client = clients.connect(running)
        client.peer.send(GET)
        assert instance.stalled.wait(15)
        client.peer.read_head()
        for _ in range(10):
            client.peer.read(PIECE)
            # The longest silence that a route allows is a minute.
            pass_time(running, 50)
        client.peer.read(LARGE - 10 * PIECE)
        assert clients.logged(running) == [(200, None, True)]


@pytest.mark.parametrize(("seconds", "fast_enough"), [(38, True), (50, False)])
def test_the_rate_is_that_at_which_it_is_read(
    seconds: float, fast_enough: bool, clients: Clients, gateway: Start
) -> None:
    """In bursts: 1053 and 800 bytes per second, where it must be 1000."""
    with Instance() as instance:
        running = gateway(clients.configuration({"min_rate": 1000}), all=instance)
        client = clients.connect(running)
        client.peer.send(GET)
        assert instance.stalled.wait(15)
        client.peer.read_head()
        read = 0
        reset = False
        while not reset and not client.is_reset() and read < 15 * PIECE:
            try:
                read += len(client.peer.read(PIECE))
            except (ConnectionResetError, ssl.SSLEOFError):
                reset = True  # while the client was reading
            pass_time(running, seconds)
        if fast_enough:
            client.peer.read(LARGE - read)
            assert clients.logged(running) == [(200, None, True)]
        else:
            if not reset:
                client.wait_for_reset()
            assert clients.logged(running) == [(200, "client_too_slow", False)]


def test_a_stored_answer_that_nobody_reads(clients: Clients, gateway: Start) -> None:
    with RawInstance(answer(900_000)) as instance:
        running = gateway(clients.configuration(STRICT, cache=True), all=instance)
        with Peer.connect(running.addresses[1]) as other:
            other.send(GET)
            assert len(other.read_answer().body) == 900_000
        client = clients.connect(running)
        client.peer.send(GET)
        client.wait_for_reset()
        assert clients.logged(running) == [(200, None, True), (200, "client_too_slow", False)]


def _keeps_the_connection(client: Client, _: Running) -> None:
    client.peer.send(GET)


def _asks_for_the_end(client: Client, _: Running) -> None:
    client.peer.send(GET.replace(b"Host", b"Connection: close\r\nHost"))


def _says_no_more(client: Client, running: Running) -> None:
    """Once the answer was sent: who goes before that gets no more of it."""
    client.peer.send(GET)
    wait_until(lambda: sum(totals(running)["by_class"]) == 1)
    client.peer.end()


@pytest.mark.parametrize("ask", [_keeps_the_connection, _asks_for_the_end, _says_no_more])
def test_the_rest_of_an_answer_that_nobody_reads_is_not_kept(
    ask: Callable[[Client, Running], None], clients: Clients, gateway: Start
) -> None:
    """The exchange is over once the kernel has all, which it would keep for minutes behind the connection's end."""
    with RawInstance(answer(REST)) as instance:
        running = gateway(clients.configuration(STRICT), all=instance)
        client = clients.connect(running)
        ask(client, running)
        client.wait_for_reset()
        wait_until(lambda: totals(running)["connections"] == 0)
        assert clients.logged(running) == [(200, None, True)]


def test_who_is_gone_is_not_waited_for(clients: Clients, gateway: Start) -> None:
    with Instance() as instance:
        running = gateway(clients.configuration({"body_grace": "5m"}), all=instance)
        client = clients.connect(running)
        client.peer.send(GET)
        assert instance.stalled.wait(15)
        client.peer.reset()
        wait_until(lambda: totals(running)["connections"] == 0)
        assert clients.logged(running) == [(200, None, False)]


@pytest.mark.parametrize("close", [True, False])
def test_who_reads_the_rest_late_gets_it(close: bool, clients: Clients, gateway: Start) -> None:
    with RawInstance(answer(REST)) as instance:
        running = gateway(clients.configuration(), all=instance)
        client = clients.connect(running)
        (_asks_for_the_end if close else _keeps_the_connection)(client, running)
        wait_until(lambda: sum(totals(running)["by_class"]) == 1)
        got = client.peer.read_head()
        for _ in range(4):
            client.peer.read(REST // 5)
            # More in all than a connection may be idle.
            pass_time(running, 30)
        client.peer.read(REST // 5)
        assert got.status == 200
        if close:
            assert client.peer.read_all() == b""
        else:
            client.peer.send(GET)
            assert len(client.peer.read_answer().body) == REST


def test_nothing_is_kept_behind_the_end_of_a_drain(clients: Clients, gateway: Start) -> None:
    with Instance() as instance:
        running = gateway(clients.configuration({"drain_timeout": "200ms"}), all=instance)
        client = clients.connect(running)
        client.peer.send(GET)
        assert instance.stalled.wait(15)
        assert clients.logged(running) == [(200, "cut_off", False)]
        client.wait_for_reset()


def test_a_drain_waits_until_what_was_sent_is_read(clients: Clients, gateway: Start) -> None:
    with RawInstance(answer(REST)) as instance:
        running = gateway(clients.configuration(), all=instance)
        client = clients.connect(running)
        client.peer.send(GET)
        wait_until(lambda: sum(totals(running)["by_class"]) == 1)
        stopping = threading.Thread(target=running.stop, kwargs={"drain": True})
        stopping.start()
        wait_until(lambda: not accepts(running.addresses[1]))
        assert len(client.peer.read_answer().body) == REST
        assert client.peer.read_all() == b""
        stopping.join()


def test_an_http2_client_that_reads_nothing_is_reset(clients: Clients, gateway: Start) -> None:
    with Instance() as instance:
        running = gateway(clients.configuration(STRICT), all=instance)
        client, peer = clients.frames(running)
        for _ in range(3):
            peer.request()
        client.wait_for_reset()
        wait_until(lambda: totals(running)["connections"] == 0)
        assert clients.logged(running) == [(200, "client_too_slow", False)] * 3


def test_an_http2_client_that_reads_on_is_not(clients: Clients, gateway: Start) -> None:
    with Instance() as instance:
        running = gateway(clients.configuration(), all=instance)
        _, peer = clients.frames(running)
        got = peer.answers[peer.request()]
        assert instance.stalled.wait(15)
        for number in range(10):
            peer.wait(lambda number=number: len(got.body) >= (number + 1) * PIECE)
            pass_time(running, 50)
        peer.wait(lambda: got.ended)
        assert len(got.body) == LARGE
        # Of its frames nothing is left.
        assert len(peer.get().body) == LARGE


def test_a_stream_whose_window_stays_closed_is_reset_and_no_other(clients: Clients, gateway: Start) -> None:
    with RawInstance(answer(REST)) as instance:
        running = gateway(clients.configuration({"body_grace": "1s", "min_rate": "100KB"}), all=instance)
        _, peer = clients.frames(running)
        peer.connection.update_settings({4: 50_000})
        peer.auto_window = False
        peer.flush()
        stalled = peer.answer(peer.request())
        assert (stalled.status, len(stalled.body), stalled.reset) == (200, 50_000, 2)
        peer.auto_window = True
        assert len(peer.get().body) == REST
        peer.close()
        assert clients.logged(running) == [(200, "client_too_slow", False), (200, None, True)]


def test_a_connection_whose_window_stays_closed_is_no_better(clients: Clients, gateway: Start) -> None:
    with RawInstance(answer(REST)) as instance:
        running = gateway(clients.configuration({"body_grace": "1s", "min_rate": "100KB"}), all=instance)
        client = clients.connect(running, "h2")
        peer = FramePeer.on(client.peer.socket, client.scheme, window=REST)
        peer.auto_window = False
        stalled = peer.answer(peer.request())
        assert (stalled.status, len(stalled.body), stalled.reset) == (200, 65_535, 2)
        peer.close()
        assert clients.logged(running) == [(200, "client_too_slow", False)]


def test_an_http2_client_that_reads_nothing_is_reset_though_no_rate_is_asked_for(
    clients: Clients, gateway: Start
) -> None:
    with Instance() as instance:
        running = gateway(clients.configuration({"min_rate": 0}), all=instance)
        client, peer = clients.frames(running)
        peer.request()
        assert instance.stalled.wait(15)
        # `keep_alive` and a little more. The first time, it has read what it took before the kernel took no more.
        pass_time(running, 80)
        pass_time(running, 80)
        client.wait_for_reset()
        assert clients.logged(running) == [(200, "client_too_slow", False)]


def test_the_rest_of_http2_answers_that_nobody_reads_is_not_kept(clients: Clients, gateway: Start) -> None:
    with RawInstance(answer(REST)) as instance:
        running = gateway(clients.configuration({**STRICT, "keep_alive": "300ms"}), all=instance)
        client, peer = clients.frames(running)
        peer.request()
        client.wait_for_reset()
        wait_until(lambda: totals(running)["connections"] == 0)


@pytest.fixture
def opener() -> Iterator[Opener]:
    """Opens WebSockets."""
    opener = Opener()
    yield opener
    opener.close()


def test_a_websocket_whose_client_reads_nothing(gateway: Start, opener: Opener, tmp_path: Path) -> None:
    clients = Clients(None, tmp_path / "access.log", contextlib.ExitStack())
    with RawInstance() as instance:
        running = gateway(clients.configuration(STRICT, websocket=True), all=instance)
        opened = opener(running, instance, receive_buffer=RECEIVE_BUFFER)
        with contextlib.suppress(OSError):
            while True:
                opened.instance.send(frame(BINARY, bytes(PIECE)))
        poll = select.poll()
        poll.register(opened.client.socket, 0)
        wait_until(lambda: bool(poll.poll(0)))
        assert clients.logged(running) == [(101, "client_too_slow", False)]


def test_a_websocket_whose_client_reads_on(gateway: Start, opener: Opener, tmp_path: Path) -> None:
    clients = Clients(None, tmp_path / "access.log", contextlib.ExitStack())
    with RawInstance() as instance:
        running = gateway(clients.configuration(websocket={"idle_timeout": "1m"}), all=instance)
        opened = opener(running, instance, receive_buffer=RECEIVE_BUFFER)
        whole = frame(BINARY, bytes(PIECE - 4))
        opened.instance.socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                opened.instance.send(whole)
        for _ in range(10):
            opened.client.read(PIECE)
            pass_time(running, 50)
        opened.client.read(PIECE)
        assert totals(running)["tunnels"] == 1
