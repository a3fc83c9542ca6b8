"""Bodies of any size pass at constant memory, no faster than the slower side takes them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from support.instance import OK, RawInstance
from support.peer import Peer
from support.running import Process

MB = 2**20
SIZE = 1024 * MB
ALLOWED = 6 * MB
"""How much more memory a transfer may take: buffers of both sides, rounded up generously."""
LIMITS = "{limits: {max_body: 2GB}, routes: [{prefix: /, service: all}]}"
PIECE = bytes(MB)


def _send(peer: Peer, size: int) -> None:
    for _ in range(size // MB):
        peer.socket.sendall(PIECE)


def _receive(peer: Peer, size: int) -> None:
    """Takes exactly `size` bytes and forgets them."""
    bin_ = bytearray(4 * MB)
    size -= len(peer.read(len(peer.pending())))
    while size:
        taken = peer.socket.recv_into(bin_, min(size, len(bin_)))
        assert taken, f"{size} bytes are missing"
        size -= taken


def _warm_up(running: Process, instance: RawInstance) -> Peer:
    """A first exchange, so that what is set up once is there; gives the instance's end of the connection."""
    with running.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        peer = instance.accept()
        peer.read_request()
        peer.send(OK)
        assert client.read_answer().status == 200
    return peer


def test_a_download_of_a_gigabyte(gateway_process: Callable[..., Process]) -> None:
    with RawInstance() as instance:
        running = gateway_process(LIMITS, all=instance)
        peer = _warm_up(running, instance)
        before = running.peak_memory
        with running.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            peer.read_request()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
            sender = threading.Thread(target=_send, args=(peer, SIZE))
            sender.start()
            client.read_head()
            _receive(client, SIZE)
            sender.join()
        assert running.peak_memory - before < ALLOWED


def test_an_upload_of_a_gigabyte(gateway_process: Callable[..., Process]) -> None:
    with RawInstance() as instance:
        running = gateway_process(LIMITS, all=instance)
        peer = _warm_up(running, instance)
        before = running.peak_memory
        with running.connect() as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE)
            sender = threading.Thread(target=_send, args=(client, SIZE))
            sender.start()
            peer.read_head()
            _receive(peer, SIZE)
            sender.join()
            peer.send(OK)
            assert client.read_answer().status == 200
        assert running.peak_memory - before < ALLOWED


def test_chunked_both_ways_at_once(gateway_process: Callable[..., Process]) -> None:
    size = 64 * MB
    chunk = b"100000\r\n" + PIECE + b"\r\n"
    with RawInstance() as instance:
        running = gateway_process(LIMITS, all=instance)
        peer = _warm_up(running, instance)
        before = running.peak_memory
        with running.connect() as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            peer.read_head()
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.read_head()

            def send(side: Peer) -> None:
                for _ in range(size // MB):
                    side.socket.sendall(chunk)
                if side is client:
                    side.socket.sendall(b"0\r\n\r\n")

            def receive(side: Peer) -> None:
                got = 0
                while length := int(side.read_until(b"\r\n"), 16):
                    side.read(length + 2)
                    got += length
                    side.forget()
                side.read(2)
                amounts.append(got)
                if side is peer:
                    # Once an answer is complete nobody need take the rest of the request: it ends last.
                    answering.join()
                    side.socket.sendall(b"0\r\n\r\n")

            amounts: list[int] = []
            asking, answering = (threading.Thread(target=send, args=(side,)) for side in (client, peer))
            threads = [asking, answering]
            threads += [threading.Thread(target=receive, args=(side,)) for side in (client, peer)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert amounts == [size, size]
        assert running.peak_memory - before < ALLOWED


def _until_stalled(peer: Peer) -> int:
    """Sends until nobody takes more, and gives how much was taken."""
    peer.socket.settimeout(1)
    sent = 0
    try:
        while sent < SIZE:
            sent += peer.socket.send(PIECE)
    except TimeoutError:
        pass
    return sent


def test_a_slow_reader_holds_up_the_instance(gateway_process: Callable[..., Process]) -> None:
    with RawInstance() as instance:
        running = gateway_process(LIMITS, all=instance)
        peer = _warm_up(running, instance)
        before = running.peak_memory
        with running.connect(receive_buffer=65536) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            peer.read_request()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
            # Only what the sockets' buffers hold.
            assert _until_stalled(peer) < 64 * MB
        assert running.peak_memory - before < ALLOWED


def test_a_slow_instance_holds_up_the_client(gateway_process: Callable[..., Process]) -> None:
    with RawInstance() as instance:
        instance.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        running = gateway_process(LIMITS, all=instance)
        before = running.peak_memory
        with running.connect() as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE)
            assert _until_stalled(client) < 64 * MB
        assert running.peak_memory - before < ALLOWED
