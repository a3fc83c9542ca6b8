"""Connections to the admin API that lead to nothing, and questions that take long."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from pylae import Gateway, Request, Response, Route
from pylae.admin import bounds
from pylae.testing import StartedGateway
from support.admin import Admin
from support.instance import EchoInstance
from support.peer import Peer, accepts, wait_until

Start = Callable[..., Admin]

HEAD = b"GET /live HTTP/1.1\r\nHost: localhost\r\nX-Long: "
"""Of a probe, which the engine answers."""
OTHER = HEAD.replace(b"/live", b"/status")
"""Of a request that Python answers."""


@pytest.mark.parametrize("sent", [b"", b"GET /", HEAD, OTHER])
def test_a_head_that_does_not_come_ends_the_connection(
    admin: Start, echo: EchoInstance, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(bounds, "HEAD_TIME", 0.05)
    with admin(all=echo) as api, Peer.connect(api.address) as peer:
        peer.send(sent)
        assert peer.at_end()


@pytest.mark.parametrize("sent", [HEAD, OTHER])
def test_a_head_that_comes_in_drops_has_no_more_time(
    admin: Start, echo: EchoInstance, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(bounds, "HEAD_TIME", 0.1)
    with admin(all=echo) as api, Peer.connect(api.address) as peer:
        peer.send(sent)
        ended = threading.Event()

        def drip() -> None:
            while not ended.wait(0.01):
                try:
                    peer.send(b"a")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert peer.at_end()
        finally:
            ended.set()
            dripping.join()


def test_so_does_the_next_head_and_a_body(admin: Start, echo: EchoInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "HEAD_TIME", 0.2)
    monkeypatch.setattr(bounds, "BODY_TIME", 0.05)
    with admin(all=echo) as api:
        token = f"Authorization: Bearer {api.token}\r\n".encode()
        with Peer.connect(api.address) as peer:
            peer.send(b"GET /status HTTP/1.1\r\nHost: localhost\r\n" + token + b"\r\n")
            assert peer.read_answer().status == 200
            peer.send(b"GET /sta")
            assert peer.at_end()
        with Peer.connect(api.address) as peer:
            peer.send(
                b"POST /config/validate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n" + token + b"\r\nab"
            )
            assert peer.at_end()
        assert api.get("/live") == {"status": "live"}


@pytest.mark.parametrize(("bound", "sent"), [("WAITING", b""), ("WAITING", HEAD), ("CONNECTIONS", OTHER)])
def test_idle_connections_make_room_for_others(
    admin: Start, echo: EchoInstance, monkeypatch: pytest.MonkeyPatch, bound: str, sent: bytes
) -> None:
    monkeypatch.setattr(bounds, bound, 3)
    with admin(all=echo) as api:
        idle = []
        for _ in range(8):
            idle.append(Peer.connect(api.address))
            idle[-1].send(sent)
        try:
            assert api.get("/status")["applied"] == 1
            # The oldest had to go.
            assert all(peer.at_end() for peer in idle[:5])
        finally:
            for peer in idle:
                peer.close()


def test_what_waits_for_an_apply_keeps_nothing_else_waiting(echo: EchoInstance, tmp_path: Path) -> None:
    """The apply waits for a worker, which is in a hook."""
    entered, go_on = threading.Event(), threading.Event()
    settings = {"listeners": ["127.0.0.1:0"], "workers": 1, "admin": "127.0.0.1:0", "state": str(tmp_path)}
    gateway = Gateway(**settings, services={"all": {"instances": [echo.url]}})
    gateway.add_route(Route(name="one", path="/", service="all", auth_required=False))

    @gateway.on_request(timeout=60)
    def hold(_request: Request) -> Response:
        entered.set()
        go_on.wait()
        return Response(status_code=204)

    with socket.create_server(("127.0.0.1", 0)) as unused:
        free = "{}:{}".format(*unused.getsockname())
    questions = ("/status", "/ready", "/services", "/services/all", "/breakers", "/limits", "/cache", "/metrics")
    questions += ("/metrics/summary", "/health", "/config", "/exchanges")
    running = StartedGateway(gateway)
    try:
        with Admin(running) as api, Peer.connect(running.address) as client:  # type: ignore[arg-type]
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert entered.wait(10)
            document = {**api.get("/config"), "listeners": ["127.0.0.1:0", free]}
            found: list[int] = []

            def change() -> None:
                found.append(api.http.put("/config", json=document, headers={"If-Match": "*"}).status_code)

            changing = threading.Thread(target=change)
            changing.start()
            wait_until(lambda: accepts(free))
            peers = [Peer.connect(api.address) for _ in questions]
            try:
                for peer, path in zip(peers, questions, strict=True):
                    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {api.token}\r\n\r\n"
                    peer.send(head.encode())
                with httpx.Client(headers=api.credential, timeout=10, verify=False) as other:
                    # After half a second, the only worker counts as stuck.
                    assert other.get(f"http://{api.address}/live").json()["status"] in ("live", "stuck")
                    beat = other.put(f"http://{api.address}/services/all/instances/a:1/heartbeat")
                    assert beat.status_code == 409, "it takes none, and says so at once"
                go_on.set()
                assert [peer.read_answer().status for peer in peers] == [200] * len(questions)
            finally:
                for peer in peers:
                    peer.close()
            changing.join()
            assert found == [200]
            assert client.read_answer().status == 204
    finally:
        go_on.set()
        running.stop()
