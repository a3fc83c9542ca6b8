"""What may have been received by an instance is sent again only if doing it twice is harmless (RFC 9110 section 9.2.2).

Kept connections end at any time: a service that recycles its workers closes them with a request on its way.
"""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import pytest

from support.exposition import Page
from support.h2servers import H2Connection, H2Instance
from support.instance import OK, RawInstance
from support.peer import Message, Peer, wait_until
from support.running import Running
from support.tls import Authority

Start = Callable[..., Running]

NO_RETRY = "routes: [{name: all, prefix: /, service: all, retries: 0}]"
MOST_KILLS = 100
METHODS = [("GET", 2), ("HEAD", 2), ("OPTIONS", 2), ("PUT", 2), ("DELETE", 2), ("POST", 1), ("PATCH", 1), ("LINK", 1)]


def once(**service: object) -> dict[str, object]:
    """No retries, and this said of the service."""
    return {"services": {"all": service}, "routes": [{"name": "all", "prefix": "/", "service": "all", "retries": 0}]}


def request(method: str, body: bytes = b"hi") -> bytes:
    """A request with a body."""
    return f"{method} / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def status(running: Running, data: bytes) -> int:
    """What one request on a connection of its own is answered with."""
    return running.raw(data, 1, method=data.split(b" ", 1)[0].decode())[0].status


def dies(peer: Peer, _: Message) -> None:
    """Ends the connection instead of answering."""
    peer.reset()


def ends(peer: Peer, _: Message) -> None:
    """The same in order."""
    peer.close()


@pytest.mark.parametrize("end", [dies, ends])
@pytest.mark.parametrize(("method", "times"), METHODS)
def test_a_kept_connection_that_dies_under_a_request(
    gateway: Start, method: str, times: int, end: Callable[[Peer, Message], None], caplog: pytest.LogCaptureFixture
) -> None:
    with RawInstance(OK, end, OK) as instance:
        running = gateway(NO_RETRY, all=instance)
        assert running.get().status == 200
        assert status(running, request(method)) == (200 if times == 2 else 502)
        assert Counter(one.method for one in instance.requests)[method] == times + (method == "GET")
        # Neither is silent to the people who run it.
        outcome = "sent_again" if times == 2 else "failed"
        name = "pylae_upstream_connections_lost_total"
        wait_until(lambda: Page.of(running.gateway).by(name, "service", "request") == {("all", outcome): 1})
        wait_until(lambda: f"a kept connection to {instance.url} of service all ended" in caplog.text)


def test_over_tls(gateway: Start, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with RawInstance(OK, dies, OK, context=authority.server("127.0.0.1")) as instance:
        running = gateway(once(tls={"ca": str(authority.file)}), all=instance)
        assert running.get().status == 200
        assert status(running, request("POST")) == 502
        assert [one.method for one in instance.requests] == ["GET", "POST"]


@pytest.mark.parametrize(("method", "times"), METHODS)
def test_over_http2(gateway: Start, method: str, times: int) -> None:
    def answer(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
        if len(connection.instance.requests) == 2:
            connection.close()
        else:
            connection.answer(stream, b"" if method == "HEAD" else b"ok")

    with H2Instance(answer) as instance:
        running = gateway(once(protocol="http2"), all=instance)
        assert running.get().status == 200
        assert status(running, request(method)) == (200 if times == 2 else 502)
        assert len(instance.requests) == 1 + times


@pytest.mark.parametrize(("size", "times"), [(60_000, 2), (200_000, 1)])
def test_a_body_that_is_not_kept_cannot_be_sent_again(gateway: Start, size: int, times: int) -> None:
    with RawInstance(OK, dies, OK) as instance:
        running = gateway(NO_RETRY, all=instance)
        assert running.get().status == 200
        assert status(running, request("PUT", b"x" * size)) == (200 if times == 2 else 502)
        assert len(instance.requests) == 1 + times


def test_a_route_may_ask_for_it(gateway: Start) -> None:
    with RawInstance(OK, dies, OK) as instance:
        running = gateway("routes: [{prefix: /, service: all, retries: 1, retry_on: [reset]}]", all=instance)
        assert running.get().status == 200
        assert status(running, request("POST")) == 200
        assert [one.method for one in instance.requests] == ["GET", "POST", "POST"]


@pytest.mark.parametrize(("method", "body"), [("POST", b"hi"), ("PUT", b"x" * 200_000)])
def test_a_connection_that_has_ended_before_is_not_used(gateway: Start, method: str, body: bytes) -> None:
    """No POST is lost to it, and nothing that is too large to be kept, however little time there was to notice."""
    with RawInstance(OK) as instance:
        running = gateway(NO_RETRY, all=instance)
        with running.connect() as client:
            for _ in range(20):
                client.send(request(method, body))
                assert client.read_answer().status == 200
                instance.peers[-1].socket.shutdown(socket.SHUT_RDWR)
        assert instance.connections == len(instance.requests) == 20


def test_a_shared_connection_that_has_ended_before_is_not_used(gateway: Start) -> None:
    with H2Instance(lambda connection, stream, _: connection.answer(stream)) as instance:
        running = gateway(once(protocol="http2"), all=instance)
        with running.connect() as client:
            for _ in range(20):
                client.send(request("POST"))
                assert client.read_answer().status == 200
                instance.connections[-1].close()
        assert len(instance.connections) == len(instance.requests) == 20


def idle_for(running: Running, client: Peer, span: str) -> None:
    """Lets time pass once the last exchange is over and its connection kept."""
    # Answered by the gateway itself, behind that exchange.
    client.send(b"GET /none HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
    assert client.read_answer().status == 404
    running.advance(span)


@pytest.mark.parametrize(("idle", "connections"), [("0s", 1), ("2s", 2), ("5s", 3)])
def test_one_that_may_be_about_to_end_is_not_used(gateway: Start, idle: str, connections: int) -> None:
    """Kept for 4 s, whenever the pool is swept, and trusted with a POST for one of them."""
    with RawInstance(OK) as instance:
        running = gateway("routes: [{path: /, service: all, retries: 0}]", all=instance)
        with running.connect() as client:
            for method in ("POST", "POST", "GET"):
                client.send(request(method))
                assert client.read_answer().status == 200
                idle_for(running, client, idle)
        assert instance.connections == connections


@pytest.mark.parametrize(("idle", "connections"), [("0s", 1), ("2s", 2)])
def test_a_shared_one_that_may_be_about_to_end_is_not_used(gateway: Start, idle: str, connections: int) -> None:
    with H2Instance(lambda connection, stream, _: connection.answer(stream)) as instance:
        routes = [{"name": "all", "path": "/", "service": "all", "retries": 0}]
        running = gateway({"services": {"all": {"protocol": "http2"}}, "routes": routes}, all=instance)
        with running.connect() as client:
            for _ in range(2):
                client.send(request("POST"))
                assert client.read_answer().status == 200
                idle_for(running, client, idle)
        assert len(instance.connections) == connections


class PreFork:
    """A service of two processes that share a listener and write down what they are asked.

    One that is killed is replaced, as pre-fork servers do.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.workers = [self.worker() for _ in range(2)]

    def worker(self) -> subprocess.Popen[bytes]:
        number = self.listener.fileno()
        command = [sys.executable, "-c", WORKER, str(number), str(self.folder)]
        return subprocess.Popen(command, pass_fds=[number])

    def kill(self) -> None:
        """Kills the older worker."""
        gone = self.workers.pop(0)
        gone.kill()
        gone.wait()
        self.workers.append(self.worker())

    @property
    def seen(self) -> Counter[str]:
        """How often each target was asked for."""
        return Counter(line for file in self.folder.iterdir() for line in file.read_text().split())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.listener.close()


WORKER = """
import os, socket, sys, threading
listener = socket.socket(fileno=int(sys.argv[1]))
seen = open(os.path.join(sys.argv[2], str(os.getpid())), "a")

def serve(peer):
    data = b""
    while piece := peer.recv(65536):
        data += piece
        while b"\\r\\n\\r\\n" in data:
            head, _, data = data.partition(b"\\r\\n\\r\\n")
            seen.write(head.split(b" ")[1].decode() + "\\n")
            seen.flush()
            peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")

while True:
    peer, _ = listener.accept()
    threading.Thread(target=serve, args=(peer,)).start()
"""


def test_a_service_whose_workers_are_killed_is_told_of_nothing_twice(gateway: Start, tmp_path: Path) -> None:
    with PreFork(tmp_path) as service:
        running = gateway(NO_RETRY, all=service.url)
        done = threading.Event()
        answered: list[tuple[str, int]] = []

        def client(number: int) -> None:
            with running.connect() as peer:
                for count in itertools.takewhile(lambda _: not done.is_set(), itertools.count()):
                    target = f"/{number}-{count}"
                    peer.send(f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode())
                    answered.append((target, peer.read_answer().status))

        with ThreadPoolExecutor(8) as clients:
            tasks = [clients.submit(client, number) for number in range(8)]
            try:
                for kills in range(1, MOST_KILLS + 1):
                    wait_until(lambda kills=kills: len(answered) >= 200 * kills)
                    service.kill()
                    # Until one has taken requests with it.
                    if kills >= 10 and any(status == 502 for _, status in answered):
                        break
            finally:
                done.set()
            for task in tasks:
                task.result()
        seen = service.seen
    assert {target: count for target, count in seen.items() if count > 1} == {}
    statuses = Counter(status for _, status in answered)
    assert set(statuses) == {200, 502}
    assert all(seen[target] == 1 for target, status in answered if status == 200)
