"""Server-sent events: passed on at once, never cut for silence, never stored, over when the listener goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from support.h2client import FramePeer
from support.instance import RawInstance
from support.peer import Peer
from support.running import Running

ASK = b"GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nAccept-Encoding: gzip, br, zstd\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM = HEAD % b"text/event-stream; charset=utf-8"
EVENT = b"data: one\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.fixture
def silent() -> Iterator[RawInstance]:
    with RawInstance() as instance:
        yield instance


def _listen(running: Running, silent: RawInstance, head: bytes = STREAM) -> tuple[Peer, Peer]:
    """A client that listens and the instance that it listens to."""
    client = running.connect()
    client.send(ASK)
    peer = silent.accept()
    peer.read_request()
    peer.send(head)
    assert client.read_head().status == 200
    return client, peer


@pytest.mark.parametrize("policy", ["{}", "compression: {min_size: 0}", "cache: {ttl: 1h}", "transform: {}"])
def test_each_event_is_passed_on_at_once(policy: str, gateway: Callable[..., Running], silent: RawInstance) -> None:
    policies = "{}" if policy == "{}" else f"{{{policy}}}"
    running = gateway(f"policies: {policies}", all=silent)
    client, peer = _listen(running, silent)
    with client:
        for number in range(5):
            peer.send(chunk(b"data: %d\n\n" % number))
            assert client.read_until(b"\n\n\r\n").endswith(b"data: %d\n\n\r\n" % number)
        peer.send(b"0\r\n\r\n")
        assert client.read_until(b"0\r\n\r\n")


def test_silence_does_not_end_it(gateway: Callable[..., Running], silent: RawInstance) -> None:
    running = gateway("routes: [{prefix: /, service: all, idle_timeout: 200ms}]", all=silent)
    client, peer = _listen(running, silent)
    plain, other = _listen(running, silent, HEAD % b"text/plain")
    with client, plain:
        for _ in range(2):
            peer.send(chunk(EVENT))
            client.read_until(b"\n\n\r\n")
            # Another stream of the same route is cut for its silence in the meantime.
            assert plain.at_end()
            assert other.at_end()
            client.socket.settimeout(0.5)
            with pytest.raises(TimeoutError):
                client.read(1)
            client.socket.settimeout(15)


def test_over_http2_too(gateway: Callable[..., Running], silent: RawInstance) -> None:
    running = gateway(
        """
        listeners: [{address: "127.0.0.1:0", http2: true}]
        routes: [{prefix: /, service: all, idle_timeout: 200ms}]
        """,
        all=silent,
    )
    with FramePeer(running.address) as client:
        listening = client.request("GET", "/events", ("accept", "text/event-stream"))
        peer = silent.accept()
        peer.read_request()
        peer.send(STREAM)
        plain = client.request("GET", "/plain")
        other = silent.accept()
        other.read_request()
        other.send(HEAD % b"text/plain")
        # Silence ends this one alone.
        assert client.answer(plain).reset == 2
        for number in range(3):
            peer.send(chunk(b"data: %d\n\n" % number))
            client.wait(lambda number=number: client.answers[listening].body.endswith(b"data: %d\n\n" % number))  # type: ignore[misc]
        client.connection.reset_stream(listening, 8)
        client.flush()
        assert peer.at_end()


def test_a_listener_that_goes_ends_the_request(gateway: Callable[..., Running], silent: RawInstance) -> None:
    running = gateway(all=silent)
    for leave in (Peer.close, Peer.reset):
        client, peer = _listen(running, silent)
        peer.send(chunk(EVENT))
        client.read_until(b"\n\n\r\n")
        leave(client)
        assert peer.at_end()


def test_streams_are_never_stored(gateway: Callable[..., Running], silent: RawInstance) -> None:
    running = gateway("policies: {cache: {ttl: 1h, override: true}}", all=silent)
    for _ in range(2):
        client, peer = _listen(running, silent)
        with client:
            peer.send(chunk(EVENT) + b"0\r\n\r\n")
            client.read_until(b"0\r\n\r\n")
        peer.close()
    assert silent.connections == 2


def test_listeners_do_not_wait_for_each_other(gateway: Callable[..., Running], silent: RawInstance) -> None:
    running = gateway("policies: {cache: {ttl: 1h, wait: 30s}}", all=silent)
    with running.connect() as first, running.connect() as second:
        first.send(ASK)
        peer = silent.accept()
        peer.read_request()
        second.send(ASK)
        peer.send(STREAM)
        assert first.read_head().status == 200
        # The second asks for itself as soon as it shows that the first gets a stream.
        other = silent.accept()
        other.read_request()
        other.send(STREAM)
        assert second.read_head().status == 200


def test_a_drain_ends_it_at_its_end(gateway: Callable[..., Running], silent: RawInstance) -> None:
    running = gateway("limits: {drain_timeout: 1s}", all=silent)
    client, peer = _listen(running, silent)
    with client:
        began = time.monotonic()
        running.stop(drain=True)
        # It was left alone until then.
        assert time.monotonic() - began > 0.9
        assert client.at_end()
    assert peer.at_end()
