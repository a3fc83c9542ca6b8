"""Bounds and deadlines (`threats.md`: slow clients, resource exhaustion). Each bound has a test that reaches it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from support.instance import OK, RawInstance
from support.peer import PATIENCE, Peer, wait_until
from support.running import Running

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def flood(peer: Peer, _: object) -> None:
    """Answers with 100 MB."""
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    for _ in range(1000):
        peer.send(bytes(100_000))


def _status(running: Running, data: bytes) -> int:
    """Status of the one answer behind which the connection is closed."""
    answers = running.raw(data)
    assert len(answers) == 1
    assert answers[0].one("connection") == "close"
    return answers[0].status


def test_the_target(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway("limits: {max_target: 100}", all=instance)
    fits = b"GET /" + b"a" * 99 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    assert running.raw(fits, 1)[0].status == 200
    assert _status(running, fits.replace(b"GET /", b"GET /a")) == 414
    # Nobody waits for the end of it.
    assert _status(running, b"GET /" + b"a" * 200) == 414
    assert len(instance.requests) == 1


def test_the_head(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway("limits: {max_head: 2000}", all=instance)
    rest = 2000 - len(b"GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n")
    fits = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * rest + b"\r\n\r\n"
    assert running.raw(fits, 1)[0].status == 200
    assert _status(running, fits.replace(b"X: ", b"X: a")) == 431
    assert _status(running, b"GET / HTTP/1.1\r\nX: " + b"a" * 3000) == 431
    assert _status(running, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 400) == 431
    assert len(instance.requests) == 1


def test_a_head_up_to_the_default_limit(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway(all=instance)
    with running.connect() as client:
        for size in (100, 16_384, 30_000, 100):
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * size + b"\r\n\r\n" + GET)
            assert [client.read_answer().status, client.read_answer().status] == [200, 200]
            assert instance.requests[-2].one("x") == "a" * size


def test_the_number_of_fields(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway("limits: {max_fields: 10}", all=instance)
    assert running.get("/", *["X: a"] * 9).status == 200
    assert _status(running, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 10 + b"\r\n") == 431
    assert len(instance.requests) == 1


def test_a_body_with_a_length(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway("limits: {max_body: 1000}", all=instance)
    assert running.raw(POST + b"Content-Length: 1000\r\n\r\n" + bytes(1000), 1)[0].status == 200
    assert _status(running, POST + b"Content-Length: 1001\r\n\r\n" + bytes(1001)) == 413
    # What it says is enough to refuse it; the instance hears nothing.
    assert _status(running, POST + b"Content-Length: 1000000000000\r\n\r\n") == 413
    assert len(instance.requests) == 1


def test_a_chunked_body_is_counted(gateway: Callable[..., Running]) -> None:
    with RawInstance() as instance:
        running = gateway("limits: {max_body: 1000}", all=instance)
        assert _status(running, CHUNKED + b"3e9\r\n" + bytes(1001) + b"\r\n0\r\n\r\n") == 413
        assert _status(running, CHUNKED + b"1\r\na\r\n" * 1001 + b"0\r\n\r\n") == 413
        # The refusal comes while the body is being sent on, so each has made a connection.
        for _ in range(2):
            peer = instance.accept()
            while not peer.at_end():
                peer.read(len(peer.pending()))
            assert not peer.received.endswith(b"0\r\n\r\n")
        with running.connect() as client:
            client.send(CHUNKED + b"3e8\r\n" + bytes(1000) + b"\r\n0\r\n\r\n")
            peer = instance.accept()
            assert peer.read_request().body == bytes(1000)
            peer.send(OK)
            assert client.read_answer().status == 200


def test_too_large_a_body_is_refused_while_it_is_sent(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway("limits: {max_body: 1MB}", all=instance)
    with running.connect() as client:
        # The client may notice only once everything that it has to say was said.
        with contextlib.suppress(ConnectionError):
            client.send(CHUNKED, *[b"10000\r\n" + bytes(65536) + b"\r\n"] * 24)
        assert client.read_answer().status == 413
    assert instance.requests == []


def test_a_head_that_does_not_come_in_time(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway("limits: {head_timeout: 300ms}", all=instance)
    with running.connect() as client:
        client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n")
        answer = client.read_answer()
        assert (answer.status, answer.one("connection")) == (408, "close")
        assert client.at_end()
    assert instance.connections == 0


def trickle(client: Peer) -> None:
    """Sends a byte every 20 ms until the gateway says something or closes."""
    client.socket.settimeout(0.02)
    for _ in range(1000):
        try:
            client.send(b"a")
            client.read(1)
            break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    client.socket.settimeout(15)


def test_a_head_that_trickles(gateway: Callable[..., Running], instance: RawInstance) -> None:
    """The deadline is for the whole head: bytes that come do not move it."""
    running = gateway("limits: {head_timeout: 500ms, max_head: 1MB}", all=instance)
    with running.connect() as client:
        client.send(b"GET /x HTTP/1.1\r\nX: ")
        trickle(client)
        client.read_until(b"\r\n")
        assert client.received.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_says_nothing_at_all(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway("limits: {head_timeout: 100ms}", all=instance)
    with running.connect() as client:
        assert client.at_end()
        assert client.received == b""


def test_a_connection_that_stays_idle(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway("limits: {keep_alive: 100ms}", all=instance)
    with running.connect() as client:
        client.send(GET)
        assert client.read_answer().status == 200
        assert client.at_end()


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come(framing: bytes, gateway: Callable[..., Running]) -> None:
    with RawInstance() as instance:
        running = gateway("limits: {body_grace: 200ms, min_rate: 1000}", all=instance)
        with running.connect() as client:
            client.send(POST + framing + b"\r\n\r\n")
            answer = client.read_answer()
            assert (answer.status, answer.one("connection")) == (408, "close")
            assert client.at_end()
        peer = instance.accept()
        while not peer.at_end():
            peer.read(len(peer.pending()))


def test_a_body_that_trickles(gateway: Callable[..., Running]) -> None:
    with RawInstance() as instance:
        running = gateway("limits: {body_grace: 300ms, min_rate: 100000}", all=instance)
        with running.connect() as client:
            client.send(POST + b"Content-Length: 100000\r\n\r\n")
            trickle(client)
            client.read_until(b"\r\n")
            assert client.received.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_stops_where_no_rate_is_asked_for(gateway: Callable[..., Running]) -> None:
    """Without `min_rate` a client's silence is bounded by the route's `idle_timeout`; the instance is not blamed."""
    with RawInstance() as instance:
        running = gateway(
            "{limits: {min_rate: 0}, routes: [{prefix: /, service: all, idle_timeout: 200ms}]}", all=instance
        )
        with running.connect() as client:
            client.send(POST + b"Content-Length: 100\r\n\r\nhello")
            assert client.read_answer().status == 408


def test_an_instance_that_does_not_take_the_body(gateway: Callable[..., Running]) -> None:
    with RawInstance() as instance:
        running = gateway("routes: [{prefix: /, service: all, idle_timeout: 200ms, retries: 0}]", all=instance)
        with running.connect() as client:
            client.send(POST + b"Content-Length: 9000000\r\n\r\n")
            client.socket.settimeout(0.2)
            with contextlib.suppress(TimeoutError, ConnectionError):
                client.send(bytes(9_000_000))
            client.socket.settimeout(15)
            answer = client.read_answer()
            assert (answer.status, answer.one("connection")) == (504, "close")


def test_a_client_that_stops_reading_a_long_answer(gateway: Callable[..., Running]) -> None:
    """What it has read earns it time against `min_rate`, but silence is bounded all the same."""
    with RawInstance(flood) as instance:
        running = gateway("routes: [{prefix: /, service: all, idle_timeout: 500ms}]", all=instance)
        with running.connect(receive_buffer=4096) as client:
            client.send(GET)
            client.read(2_000_000)
            wait_until(lambda: running.gateway.stats()["totals"]["incomplete"] == 1)


def test_a_client_that_does_not_read(gateway: Callable[..., Running]) -> None:
    with RawInstance(flood) as instance:
        running = gateway("limits: {body_grace: 200ms, min_rate: 1000000000}", all=instance)
        with running.connect(receive_buffer=4096) as client:
            client.send(GET)
            # The instance notices, because the gateway gives up.
            wait_until(lambda: running.gateway.stats()["totals"]["incomplete"] == 1)
            with contextlib.suppress(ConnectionResetError):
                assert len(client.read_all()) < 50_000_000


def test_requests_in_flight(gateway: Callable[..., Running]) -> None:
    with RawInstance() as instance:
        running = gateway("limits: {max_requests: 3}", all=instance)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(running.connect()) for _ in range(3)]
            for client in clients:
                client.send(GET)
            peers = [instance.accept() for _ in clients]
            for peer in peers:
                peer.read_request()
            refused = running.raw(GET, 1)[0]
            assert (refused.status, refused.one("retry-after")) == (503, "1")
            peers[0].send(OK)
            wait_until(lambda: running.gateway.stats()["totals"]["in_flight"] == 2)
            with running.connect() as further:
                further.send(GET)
                peers[0].read_request()
        assert instance.connections == 3


def _connections(running: Running) -> int:
    return int(running.gateway.stats()["totals"]["connections"])


def _is_open(client: Peer) -> bool:
    """Whether a connection on which nothing is under way has not been closed."""
    client.socket.setblocking(False)
    try:
        return client.socket.recv(1) != b""
    except BlockingIOError:
        return True
    finally:
        client.socket.settimeout(PATIENCE)


def test_idle_connections_make_room(gateway: Callable[..., Running], instance: RawInstance) -> None:
    """Beyond the bound, one for each that comes."""
    running = gateway("limits: {max_connections: 10}", all=instance)
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(1, 15):
            clients.append(stack.enter_context(running.connect()))
            clients[-1].send(GET)
            assert clients[-1].read_answer().status == 200
            wait_until(lambda number=number: _connections(running) == min(number, 10))
        wait_until(lambda: sum(map(_is_open, clients)) == 10)
        for client in filter(_is_open, clients):
            client.send(GET)
            assert client.read_answer().status == 200
        assert running.gateway.stats()["totals"]["connections_refused"] == 0


def test_connections_that_never_spoke_make_room(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway("limits: {max_connections: 4, head_timeout: 10m}", all=instance)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(running.connect()) for _ in range(4)]
        wait_until(lambda: _connections(running) == 4)
        with running.connect() as client:
            client.send(GET)
            assert client.read_answer().status == 200
            wait_until(lambda: sum(map(_is_open, silent)) == 3)
            assert _connections(running) == 4


def test_connections_that_are_busy_are_not_closed(gateway: Callable[..., Running]) -> None:
    with RawInstance() as instance:
        running = gateway("limits: {max_connections: 4}", all=instance)
        with contextlib.ExitStack() as stack:
            clients, peers = [], []
            for _ in range(4 + 32):
                clients.append(stack.enter_context(running.connect()))
                clients[-1].send(GET)
                peers.append(instance.accept())
                peers[-1].read_request()
            with running.connect() as refused:
                refused.send(GET)
                assert refused.at_end()
            assert running.gateway.stats()["totals"]["connections_refused"] == 1
            for peer in peers:
                peer.send(OK)
            for client in clients:
                assert client.read_answer().status == 200
            # Those beyond the bound leave once they have nothing to do.
            wait_until(lambda: _connections(running) == 4)


def test_many_requests_ahead(gateway: Callable[..., Running], instance: RawInstance) -> None:
    """What a client sends ahead waits in its socket once a buffer is full."""
    running = gateway(all=instance)
    answers = running.raw(GET * 2000, 2000)
    assert {answer.status for answer in answers} == {200}
    assert len(instance.requests) == 2000
