"""The services of the shop over real sockets."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from pylae.demo import notifications, orders, payments, users
from pylae.demo.server import MAX_BODY, Listener, Service, Store

Start = Callable[[Service], str]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts services on free ports and returns their `host:port`."""
    with ExitStack() as ending:

        def run(service: Service) -> str:
            listener = Listener(service, f"{service.name}-1", Store(":memory:", service.tables))
            thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            ending.callback(listener.store.close)
            ending.callback(thread.join)
            ending.callback(listener.server_close)
            ending.callback(listener.shutdown)
            return listener.url.removeprefix("http://")

        yield run


def ask(address: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
    """One exchange on a connection of its own."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None, dict(answer.getheaders())
    finally:
        connection.close()


def exchange(address: str, request: bytes) -> bytes:
    """Sends bytes, closes the sending side, and reads to the end."""
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").read()


@pytest.mark.parametrize("service", [users.service, orders.service, payments.service, notifications.service])
def test_health(start: Start, service: Service) -> None:
    status, body, _ = ask(start(service), "GET", "/health")
    assert (status, body) == (200, {"status": "healthy", "service": service.name})


def test_users_are_registered_once(start: Start) -> None:
    address = start(users.service)
    status, user, headers = ask(address, "POST", "/api/users", {"name": "Alan", "email": "alan@example.com"})
    assert (status, user["role"]) == (201, "customer")
    assert ask(address, "GET", headers["Location"])[1] == user
    status, refused, headers = ask(address, "POST", "/api/users", {"name": "Alan", "email": "alan@example.com"})
    assert (status, headers["Content-Type"]) == (409, "application/problem+json")
    assert refused["detail"] == "alan@example.com is registered already."
    assert [entry["id"] for entry in ask(address, "GET", "/api/users")[1]["users"]] == [1, 2, 3, user["id"]]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ([], 400),
        ({}, 422),
        ({"name": "", "email": "a@b"}, 422),
        ({"name": 1, "email": "a@b"}, 422),
        ({"name": "Alan", "email": "nowhere"}, 422),
    ],
)
def test_what_can_not_be_registered(start: Start, body: object, status: int) -> None:
    assert ask(start(users.service), "POST", "/api/users", body)[0] == status


def test_an_order_is_paid_and_told(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    paying, telling = start(payments.service), start(notifications.service)
    monkeypatch.setenv("PAYMENTS_URL", f"http://{paying}")
    monkeypatch.setenv("NOTIFICATIONS_URL", f"http://{telling}")
    address = start(orders.service)
    order = {"user_id": 1, "items": [{"sku": "kettle", "quantity": 2}, "cup"]}
    status, made, headers = ask(address, "POST", "/api/orders", order)
    assert (status, made["total"], made["status"]) == (201, 8_700, "paid")
    assert ask(paying, "GET", f"/payments/{made['payment']['id']}")[1]["amount"] == 8_700
    told = ask(telling, "GET", "/notifications?user_id=1")[1]["notifications"]
    assert [entry["text"] for entry in told] == ["Thank you: order 2 over 87.00 is paid."]
    assert ask(telling, "GET", "/notifications?user_id=2")[1]["notifications"] == []
    assert ask(address, "PUT", headers["Location"], {"status": "shipped"})[1]["status"] == "shipped"
    assert ask(address, "DELETE", headers["Location"])[0] == 409
    assert len(ask(address, "GET", "/api/orders?user_id=1")[1]["orders"]) == 1


def test_a_large_order_is_declined(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    paying = start(payments.service)
    monkeypatch.setenv("PAYMENTS_URL", f"http://{paying}")
    address = start(orders.service)
    status, refused, _ = ask(
        address, "POST", "/api/orders", {"user_id": 1, "items": [{"sku": "teapot", "quantity": 500}]}
    )
    assert (status, refused["status"]) == (402, 402)
    assert ask(address, "GET", "/api/orders/2")[1]["status"] == "declined"
    assert ask(paying, "GET", "/payments?user_id=1")[1]["payments"][0]["status"] == "declined"


def test_an_order_without_the_payment_service_answers_503(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PAYMENTS_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        status, refused, _ = ask(start(orders.service), "POST", "/api/orders", {"user_id": 1, "items": ["cup"]})
    assert (status, refused["title"]) == (503, "Service Unavailable")


@pytest.mark.parametrize(
    "items", [[], ["anvil"], [{"sku": "cup", "quantity": 0}], [{"sku": "cup", "quantity": True}], [[]]]
)
def test_what_can_not_be_ordered(start: Start, items: list[object]) -> None:
    assert ask(start(orders.service), "POST", "/api/orders", {"user_id": 1, "items": items})[0] == 422


def test_errors_are_problems_with_the_request_id(start: Start) -> None:
    address = start(users.service)
    status, body, headers = ask(address, "GET", "/api/users/99", **{"X-Request-ID": "r-1"})
    assert (status, headers["Content-Type"], body["request_id"]) == (404, "application/problem+json", "r-1")
    assert ask(address, "GET", "/nowhere")[0] == 404
    status, _, headers = ask(address, "DELETE", "/api/users")
    assert (status, headers["Allow"]) == (405, "GET, POST")


def test_a_fault_is_500_and_says_nothing(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    broken = Service("broken", "SELECT 1")
    broken.route("GET", "/")(lambda *_: 1 / 0)  # type: ignore[arg-type, return-value]
    status, body, _ = ask(start(broken), "GET", "/")
    assert (status, body["detail"]) == (500, "The service failed.")
    assert "broken-1: ZeroDivisionError" in capfd.readouterr().err


def test_a_connection_is_kept_and_head_has_no_body(start: Start) -> None:
    request = b"HEAD /api/users/1 HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET /api/users/2 HTTP/1.1\r\nHost: x\r\n\r\n"
    head, first_blank, rest = exchange(start(users.service), request).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and b"Content-Length: 73" in head and first_blank
    assert rest.startswith(b"HTTP/1.1 200") and rest.endswith(b'"role": "customer"}\n')


def test_a_chunked_body(start: Start) -> None:
    body = json.dumps({"name": "Alan", "email": "alan@example.com"}).encode()
    chunks = b"%x;a=b\r\n%b\r\n%x\r\n%b\r\n0\r\nTrailer: 1\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:])
    head = b"POST /api/users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answers = exchange(start(users.service), head + chunks + b"GET /api/users/1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answers.startswith(b"HTTP/1.1 201") and b"HTTP/1.1 200" in answers


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        (f"Content-Length: {MAX_BODY + 1}", "", b"413"),
        ("Content-Length: -1", "", b"400"),
        ("Transfer-Encoding: chunked", "zz\r\n", b"400"),
        ("Transfer-Encoding: chunked", f"{MAX_BODY + 1:x}\r\n", b"413"),
    ],
)
def test_a_body_that_is_refused_ends_the_connection(start: Start, fields: str, body: str, status: bytes) -> None:
    request = f"POST /api/users HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{body}".encode()
    answer = exchange(start(users.service), request + b"GET /api/users/1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in answer and answer.count(b"HTTP/1.1") == 1
