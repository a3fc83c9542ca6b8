"""`/live` and `/ready` are answered by the engine: without a token, and whatever Python does."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from support.admin import Admin
from support.instance import OK, EchoInstance, RawInstance
from support.peer import Message, Peer, raw, wait_until
from support.running import Process

Start = Callable[..., Admin]

HOST = b"Host: localhost\r\n"
LIVE = b"GET /live HTTP/1.1\r\n" + HOST + b"\r\n"
READY = LIVE.replace(b"/live", b"/ready")


def told(answer: Message) -> tuple[int, object]:
    """What an answer says."""
    return answer.status, json.loads(answer.body)


def ask(address: str, request: bytes, method: str = "GET") -> Message:
    """The answer to a request on a connection of its own, which ends behind it."""
    (answer,) = raw(address, request, method=method)
    return answer


@contextmanager
def unix(path: Path) -> Iterator[socket.socket]:
    """A connection to a unix socket."""
    with closing(socket.socket(socket.AF_UNIX)) as peer:
        peer.settimeout(30)
        peer.connect(str(path))
        yield peer


def read_all(peer: socket.socket) -> bytes:
    """Everything until the end."""
    found = b""
    while piece := peer.recv(65536):
        found += piece
    return found


def test_probes_need_no_token(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        answer = ask(api.address, LIVE)
        assert told(answer) == (200, {"status": "live"})
        assert answer.one("content-type") == "application/json"
        assert answer.one("connection") == "close"
        assert answer.one("cache-control") == "no-store"
        assert told(ask(api.address, READY.replace(b"/ready", b"/ready?verbose=1"))) == (200, {"status": "ready"})
        head = ask(api.address, READY.replace(b"GET", b"HEAD"), "HEAD")
        assert (head.status, head.one("content-length"), head.body) == (200, "18", b"")
        posted = ask(api.address, LIVE.replace(b"GET", b"POST"))
        assert (posted.status, posted.one("allow")) == (405, "GET, HEAD")
        assert posted.one("content-type") == "application/problem+json"
        for path in (b"/status", b"/live/", b"//live", b"/live/../status", b"/health", b"/metrics"):
            assert raw(api.address, LIVE.replace(b"/live", path), 1)[0].status == 401, path


def test_what_a_browser_would_be_made_to_send_is_refused(admin: Start, echo: EchoInstance) -> None:
    with admin("admin: {address: '127.0.0.1:0', hosts: [gate.example]}", all=echo) as api:
        for fields, status in {
            b"Host: evil.example\r\n": 403,
            b"": 400,
            HOST + HOST: 400,
            HOST + b"Origin: http://evil.example\r\n": 403,
            HOST + b"Sec-Fetch-Site: cross-site\r\n": 403,
            HOST + b"Sec-Fetch-Site: none\r\n": 200,
            b"Host: gate.example:9901\r\n": 200,
        }.items():
            assert raw(api.address, LIVE.replace(HOST, fields), 1)[0].status == status, fields


def test_other_names_count_once_they_are_in_force(admin: Start, echo: EchoInstance) -> None:
    def named(*hosts: str) -> dict[str, object]:
        return {"admin": {"address": "127.0.0.1:0", "hosts": list(hosts)}}

    request = LIVE.replace(b"localhost", b"gate.example")
    with admin(named(), all=echo) as api:
        assert raw(api.address, request, 1)[0].status == 403
        api.running.apply({**named("gate.example"), "state": str(api.running.gateway.config.state)}, all=echo)
        assert ask(api.address, request).one("connection") == "close"


def test_a_head_may_come_in_pieces_and_with_more_behind_it(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        with Peer.connect(api.address) as peer:
            peer.send(*(bytes([byte]) for byte in LIVE))
            assert told(peer.read_answer()) == (200, {"status": "live"})
            assert peer.at_end()
        behind = b"GET /status HTTP/1.1\r\n" + HOST + b"\r\n"
        assert told(ask(api.address, LIVE + behind + b"x" * 20_000)) == (200, {"status": "live"})
        large = LIVE.replace(HOST, HOST + b"X: " + b"x" * 20_000 + b"\r\n")
        assert told(raw(api.address, large, 1)[0]) == (200, {"status": "live"})


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n\r\n", b"x\0\r\n"]
)
def test_garbage_is_refused_and_harms_nobody(admin: Start, echo: EchoInstance, sent: bytes) -> None:
    with admin(all=echo) as api:
        with Peer.connect(api.address) as peer:
            peer.send(sent)
            peer.end()
            assert peer.read_all()[:12] in (b"", b"HTTP/1.1 400")
        with Peer.connect(api.address) as half:
            half.send(LIVE[:10])
            half.end()
            assert half.at_end()
        assert told(ask(api.address, LIVE)) == (200, {"status": "live"})
        assert api.get("/status")["applied"] == 1


def test_a_thousand_connections_keep_no_probe_out(gateway_process: Callable[..., Process], echo: EchoInstance) -> None:
    running = gateway_process({"admin": "127.0.0.1:0"}, all=echo)
    address = running.read_until("admin API on").split()[-1]
    pieces = (b"", LIVE[:8], LIVE[:-2])
    idle = []
    try:
        for number in range(1000):
            idle.append(Peer.connect(address))
            idle[-1].send(pieces[number % 3])
        assert told(ask(address, LIVE)) == (200, {"status": "live"})
        assert raw(address, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", 1)[0].status == 401
        # 256 of them wait; the others had to go.
        assert all(peer.at_end() for peer in idle[:700])
        assert told(ask(address, READY)) == (200, {"status": "ready"})
    finally:
        for peer in idle:
            peer.close()


def test_python_says_the_same_on_a_connection_that_it_has(admin: Start) -> None:
    with RawInstance() as slow, admin(all=slow) as api, Peer.connect(api.address) as peer:
        credential = f"Authorization: Bearer {api.token}\r\n\r\n".encode()
        peer.send(b"GET /status HTTP/1.1\r\n" + HOST + credential)
        assert peer.read_answer().status == 200

        def compare(status: int, word: str) -> None:
            for request in (LIVE, READY):
                peer.send(request)
                assert told(peer.read_answer()) == told(ask(api.address, request))
            assert told(ask(api.address, READY)) == (status, {"status": word})

        compare(200, "ready")
        peer.send(LIVE.replace(b"GET", b"HEAD"))
        assert peer.read_answer(method="HEAD").status == 200
        with api.running.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            held = slow.accept()
            held.read_request()
            stopping = threading.Thread(target=api.running.gateway.stop)
            stopping.start()
            wait_until(lambda: ask(api.address, READY).status == 503)
            # During the drain, and not until it is over.
            compare(503, "stopping")
            assert told(ask(api.address, LIVE)) == (200, {"status": "live"})
            held.send(OK)
            assert client.read_answer().status == 200
            stopping.join()
        with pytest.raises(ConnectionRefusedError):
            Peer.connect(api.address)


def test_probes_over_a_unix_socket(admin: Start, echo: EchoInstance, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with admin({"admin": f"unix:{path}"}, all=echo):
        with unix(path) as peer:
            for byte in LIVE.replace(b"localhost", b"any.name"):
                peer.sendall(bytes([byte]))
            assert b'{"status":"live"}' in read_all(peer)
        with unix(path) as peer:
            peer.sendall(LIVE.replace(b"/live", b"/status").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert read_all(peer).startswith(b"HTTP/1.1 401 ")


STUCK = """
import ctypes, logging, os
from pathlib import Path
from pylae import Gateway, Request, Response
from pylae.admin import bounds

logging.basicConfig(level="INFO")
bounds.PATIENCE = 0.2
libc = ctypes.PyDLL(None)  # whose functions keep the interpreter's lock
gateway = Gateway(listeners=["127.0.0.1:0"], workers=2, admin="127.0.0.1:0", state="state")
gateway.add_route(path="/stuck", service="all", service_url="URL", auth_required=False)

@gateway.on_request(timeout=60)
def hold(request: Request) -> Response:
    pipe = os.open("pipe", os.O_RDWR)
    Path("entered").touch()
    libc.read(pipe, ctypes.create_string_buffer(1), 1)
    os.close(pipe)
    return Response(status_code=204)

gateway.run()
"""


@contextmanager
def holding(place: Path, echo: EchoInstance) -> Iterator[tuple[Process, str, bytes]]:
    """A gateway whose hook waits in C, with the lock, for a byte in `pipe`; its admin address; a request to that."""
    (place / "main.py").write_text(STUCK.replace("URL", echo.url))
    os.mkfifo(place / "pipe")
    running = Process({}, place, "main.py")
    try:
        address = running.read_until("admin API on").split()[-1]
        token = (place / "state" / "admin-token").read_text().strip()
        yield running, address, b"GET /status HTTP/1.1\r\n" + HOST + f"Authorization: Bearer {token}\r\n\r\n".encode()
    finally:
        running.stop()


def test_probes_are_answered_while_a_hook_holds_the_interpreter(tmp_path: Path, echo: EchoInstance) -> None:
    with (
        holding(tmp_path, echo) as (running, address, status),
        Peer.connect(address) as kept,
        running.connect() as client,
    ):
        kept.send(status)
        assert kept.read_answer().status == 200
        client.send(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until((tmp_path / "entered").exists)
        for _ in range(3):
            assert told(ask(address, LIVE)) == (200, {"status": "live"})
            assert told(ask(address, READY)) == (200, {"status": "ready"})
        refused = ask(address, status)
        assert refused.status == 503
        assert json.loads(refused.body)["code"] == "control_plane_stuck"
        kept.send(status)
        (tmp_path / "pipe").write_bytes(b"\n")
        assert client.read_answer().status == 204
        assert kept.read_answer().status == 200
        assert raw(address, status, 1)[0].status == 200


def test_a_hook_that_holds_the_interpreter_for_a_moment_has_nothing_refused(tmp_path: Path, echo: EchoInstance) -> None:
    with (
        holding(tmp_path, echo) as (running, address, status),
        Peer.connect(address) as asking,
        running.connect() as client,
    ):
        client.send(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
        running.read_until("no Python code can run")
        asking.send(status)
        # A probe is behind it, and answered.
        assert told(ask(address, LIVE)) == (200, {"status": "live"})
        (tmp_path / "pipe").write_bytes(b"\n")
        assert asking.read_answer().status == 200
        assert client.read_answer().status == 204


LIMITED = """
import logging, os, resource, threading
from pylae import Gateway, Request, Response

logging.basicConfig(level="INFO")
gateway = Gateway(listeners=["127.0.0.1:0"], workers=1, admin="127.0.0.1:0", state="state")
gateway.add_route(path="/short", service="all", service_url="URL", auth_required=False)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
pipe = os.open("pipe", os.O_RDWR)

def free() -> None:
    os.read(pipe, 1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

@gateway.on_request
def limit(request: Request) -> Response:
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    threading.Thread(target=free, daemon=True).start()
    return Response(status_code=204)

gateway.run()
"""


def test_it_goes_on_once_there_are_descriptors_again(tmp_path: Path, echo: EchoInstance) -> None:
    (tmp_path / "main.py").write_text(LIMITED.replace("URL", echo.url))
    os.mkfifo(tmp_path / "pipe")
    running = Process({}, tmp_path, "main.py")
    try:
        address = running.read_until("admin API on").split()[-1]
        with running.connect() as client:
            client.send(b"GET /short HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.read_answer().status == 204
        with Peer.connect(address) as waiting:
            waiting.send(LIVE)
            running.read_until("a connection to the admin address could not be accepted")
            (tmp_path / "pipe").write_bytes(b"\n")
            assert told(waiting.read_answer()) == (200, {"status": "live"})
    finally:
        running.stop()
