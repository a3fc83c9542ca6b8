"""Fake services and the client, against each other."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from pylae.testing import Client, FakeService, Headers, Reply

Serve = Callable[..., FakeService]


def client(service: FakeService) -> Client:
    return Client(service.address)


@pytest.mark.parametrize(
    ("answer", "kind", "body"),
    [
        (None, "text/plain", b"hello"),
        ("text é", "text/plain", "text é".encode()),
        (b"\0", "text/plain", b"\0"),
        ({"a": 1}, "application/json", b'{"a": 1}'),
        ([1], "application/json", b"[1]"),
        (lambda request: {"path": request.path}, "application/json", b'{"path": "/x"}'),
        (lambda _: None, "text/plain", b"hello"),
        (Reply(headers={"Content-Type": "a/b"}, body=[b"a", b"", b"b"]), "a/b", b"ab"),
        (Reply(body="x", chunked=True), "text/plain", b"x"),
    ],
)
def test_answers(pylae_service: Serve, answer: object, kind: str, body: bytes) -> None:
    got = client(pylae_service(answer)).get("/x")
    assert (got.status, got.headers["content-type"], got.body) == (200, kind, body)


def test_what_is_remembered(pylae_service: Serve) -> None:
    service = pylae_service()
    sent = [("X-A", "1"), ("x-a", "2")]
    client(service).post("/orders?page=1&page=2&q=", headers=sent, json={"n": 1})
    client(service).put("/raw", body=iter([b"ab", b"c"]))
    client(service).patch("/text", body="é")
    posted, raw, text = service.requests
    assert (posted.method, posted.path, posted.target) == ("POST", "/orders", "/orders?page=1&page=2&q=")
    assert posted.query == {"page": ["1", "2"], "q": [""]}
    assert posted.headers.get_all("X-A") == ["1", "2"]
    assert posted.headers["X-A"] == "1"
    assert posted.json() == {"n": 1}
    assert (raw.method, raw.body, raw.headers["Transfer-Encoding"]) == ("PUT", b"abc", "chunked")
    assert (text.method, text.body) == ("PATCH", "é".encode())


def test_methods(pylae_service: Serve) -> None:
    service = pylae_service(lambda request: request.method)
    assert client(service).head().body == b""
    assert client(service).delete().text == "DELETE"
    assert client(service).options("*").text == "OPTIONS"
    assert [request.method for request in service.requests] == ["HEAD", "DELETE", "OPTIONS"]


def test_programmed_paths(pylae_service: Serve) -> None:
    service = pylae_service("other")
    service.on("GET|PUT", "/orders/{id:int}", lambda request: {"id": request.params["id"]})
    service.on("GET", "/orders/none", Reply.json({"error": "gone"}, 410, {"X-A": "b"}))
    assert client(service).get("/orders/7?full=1").json() == {"id": "7"}
    gone = client(service).get("/orders/none")
    assert (gone.status, gone.json(), gone.headers["x-a"]) == (410, {"error": "gone"}, "b")
    assert client(service).post("/orders/7").text == "other"
    assert [dict(request.params) for request in service.requests] == [{"id": "7"}, {}, {}]


def test_in_turn(pylae_service: Serve) -> None:
    service = pylae_service().in_turn(Reply(503), "ok")
    assert [client(service).get().status for _ in range(3)] == [503, 200, 200]


def test_hanging_up_and_bodiless_answers(pylae_service: Serve) -> None:
    service = pylae_service().in_turn(Reply(hang_up=True), Reply(204), Reply(304, [("ETag", '"a"')]))
    with pytest.raises((http.client.HTTPException, OSError)):
        client(service).get()
    assert [client(service).get().status for _ in range(2)] == [204, 304]


def test_what_an_answer_raises_is_seen(pylae_service: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(_: object) -> None:
        raise LookupError("no such thing")

    answer = client(pylae_service(broken)).get()
    assert answer.status == 500
    assert "no such thing" in answer.text
    assert "no such thing" in capfd.readouterr().err


def test_pieces_arrive_one_by_one(pylae_service: Serve) -> None:
    go_on = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"data: 1\n\n"
        assert go_on.wait(10)
        yield b"data: 2\n\n"

    service = pylae_service(lambda _: Reply(headers={"Content-Type": "text/event-stream"}, body=pieces()))
    with client(service).stream("GET", "/events") as response:
        lines = response.lines()
        assert [next(lines), next(lines)] == ["data: 1", ""]
        go_on.set()
        assert list(lines) == ["data: 2", ""]


def test_waiting_for_requests(pylae_service: Serve) -> None:
    service = pylae_service()
    threads = [threading.Thread(target=client(service).get) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert len(service.wait_for(3)) == 3
    for thread in threads:
        thread.join()
    with pytest.raises(TimeoutError, match="3 of 4"):
        service.wait_for(4, timeout=0.01)


def test_memory_is_bounded(pylae_service: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pylae.testing.service._MOST", 3)
    service = pylae_service()
    for number in range(5):
        client(service).get(f"/{number}")
    assert [request.path for request in service.requests] == ["/2", "/3", "/4"]
    assert service.count == 5
    assert len(service.wait_for(5)) == 3


def test_stopping_closes_everything() -> None:
    service = FakeService(Reply(delay=60))
    failed = threading.Event()

    def ask() -> None:
        try:
            client(service).get()
        except (OSError, http.client.HTTPException):
            failed.set()

    thread = threading.Thread(target=ask)
    thread.start()
    service.wait_for(1)
    with socket.create_connection(("127.0.0.1", service.port)) as idle:
        idle.settimeout(10)
        idle.sendall(b"GET / HTTP/1.1\r\n")
        service.stop()
        service.stop()
        with contextlib.suppress(ConnectionResetError):
            assert idle.recv(1) == b""
    thread.join()
    assert failed.is_set()
    with pytest.raises(OSError, match=r"."):
        client(service).get()


def test_a_client_without_a_gateway_makes_no_tokens(pylae_service: Serve) -> None:
    with pytest.raises(ValueError, match="token"):
        client(pylae_service()).get(user="1")


def test_headers() -> None:
    headers = Headers([("A", "1"), ("b", "2"), ("a", "3")])
    assert (headers["a"], headers.get("B"), headers.get("c"), "A" in headers) == ("1", "2", None, True)
    assert (list(headers), len(headers), headers.get_all("a")) == (["A", "b"], 2, ["1", "3"])
    assert headers.items() == [("A", "1"), ("b", "2"), ("a", "3")]
    assert Headers(headers).items() == headers.items()
    assert Headers({"a": "1"})["A"] == "1"
    with pytest.raises(KeyError):
        headers["c"]
