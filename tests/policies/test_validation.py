from __future__ import annotations

import contextlib
import json
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, Gateway
from pylae.testing import FakeService, Response
from support.exchanges import DEADLINE, ask, gateway
from support.running import Process

JSON = {"Content-Type": "application/json"}
SCHEMA = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string", "pattern": "^[a-z]+$"}, "tags": {"type": "array", "maxItems": 3}},
    "additionalProperties": False,
}


@pytest.fixture
def address(service: FakeService, tmp_path: Path) -> Iterator[str]:
    common = {"service": "one", "auth_required": False}
    big = {"max_size": "1MB", "max_values": 1000}
    (tmp_path / "order.json").write_text(json.dumps(SCHEMA))
    configuration: dict[str, Any] = {
        "services": {"one": {"instances": [service.url]}},
        "policies": {"security_headers": True, "validation": {"max_body": 100}},
        "routes": [
            {"path": "/small", **common},
            {"path": "/off", **common, "validation": False},
            {
                "path": "/head",
                **common,
                "validation": {
                    "required_headers": ["X-Tenant"],
                    "required_query": "version",
                    "content_types": ["text/*", "application/xml"],
                },
            },
            {"path": "/json", **common, "validation": {"json_body": big}},
            {"path": "/tiny", **common, "validation": {"max_body": "1MB", "json_body": {"max_size": 20}}},
            {"path": "/schema", **common, "validation": {"json_body": {"json_schema": "${file:order.json}", **big}}},
        ],
    }
    with gateway(tmp_path, configuration) as running:
        yield running


def pieces(body: bytes) -> Iterator[bytes]:
    """The body in chunks."""
    for start in range(0, len(body), 1000):
        yield body[start : start + 1000]


def code(reply: Response) -> str:
    assert reply.headers.get("X-Content-Type-Options") == "nosniff"
    return str(reply.json()["type"].removeprefix("urn:pylae:error:"))


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_are_counted(address: str, service: FakeService, chunked: bool) -> None:
    for size in (0, 100):
        body = b"x" * size
        assert ask(address, "/small", "POST", body=pieces(body) if chunked else body).status == 200
        assert service.requests[-1].body == body
    reply = ask(address, "/small", "POST", body=pieces(b"x" * 101) if chunked else b"x" * 101)
    assert (reply.status, code(reply)) == (413, "body_too_large")
    assert ask(address, "/off", "POST", body=b"x" * 101).status == 200


@pytest.mark.parametrize(
    ("path", "headers", "body", "status", "why"),
    [
        ("/head?version=1", {"X-Tenant": "a"}, None, 200, None),
        ("/head?a&version", {"x-tenant": ""}, None, 200, None),
        ("/head?version=1", {}, None, 400, "missing_header"),
        ("/head?versions=1", {"X-Tenant": "a"}, None, 400, "missing_parameter"),
        ("/head", {"X-Tenant": "a"}, None, 400, "missing_parameter"),
        ("/head?version", {"X-Tenant": "a", "Content-Type": "Text/Plain; charset=utf-8"}, b"x", 200, None),
        ("/head?version", {"X-Tenant": "a", "Content-Type": "application/xml"}, b"x", 200, None),
        ("/head?version", {"X-Tenant": "a", "Content-Type": "application/json"}, b"x", 415, "unsupported_media_type"),
        ("/head?version", {"X-Tenant": "a", "Content-Type": "text"}, b"x", 415, "unsupported_media_type"),
        ("/head?version", {"X-Tenant": "a"}, b"x", 415, "unsupported_media_type"),
    ],
)
def test_heads(
    address: str,
    service: FakeService,
    path: str,
    headers: dict[str, str],
    body: bytes | None,
    status: int,
    why: str | None,
) -> None:
    reply = ask(address, path, "POST" if body else "GET", headers, body)
    assert reply.status == status
    assert len(service.requests) == (status == 200)
    assert why is None or code(reply) == why


def test_two_content_types_are_none(address: str) -> None:
    headers = [("X-Tenant", "a"), ("Content-Type", "text/plain"), ("Content-Type", "text/plain")]
    assert ask(address, "/head?version", "POST", headers, b"x").status == 415


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("body", [b"1", b' {"a": [1, 2, {"b": null}]} ', json.dumps(["x" * 900_000]).encode()])
def test_json_passes_unchanged(address: str, service: FakeService, body: bytes, chunked: bool) -> None:
    assert ask(address, "/json", "POST", JSON, pieces(body) if chunked else body).status == 200
    assert service.requests[-1].body == body
    framing = "Transfer-Encoding" if chunked else "Content-Length"
    assert service.requests[-1].headers[framing] == ("chunked" if chunked else str(len(body)))


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"{'a': 1}", 400),
        (b'{"a": 1} x', 400),
        (b'{"a": 1, "a": 2}', 400),
        (b'"\xff"', 400),
        (b"[" * 10_000 + b"]" * 10_000, 400),
        (b'{"a":' * 10_000, 400),
        (b"[" + b"0," * 400_000 + b"0]", 400),
        (b'"' + b"x" * 2**20 + b'"', 413),
        (b"[" * (4 * 2**20), 413),
    ],
    ids=["empty", "open", "quotes", "rest", "twice", "utf-8", "deep", "deep objects", "many", "large", "huge and deep"],
)
def test_bad_json_is_refused(address: str, service: FakeService, body: bytes, status: int, chunked: bool) -> None:
    try:
        reply = ask(address, "/json", "POST", JSON, pieces(body) if chunked else body)
    except (BrokenPipeError, ConnectionResetError):
        # The gateway has answered and closed before everything was sent.
        assert status == 413
    else:
        assert reply.status == status
        assert code(reply) == ("invalid_json" if status == 400 else "body_too_large")
    assert service.requests == []


@pytest.mark.parametrize("path", ["/small", "/json", "/tiny"])
def test_an_endless_body_is_refused_and_cut_off(address: str, service: FakeService, path: str) -> None:
    """The answer comes at the bound, not at the end; what is sent beyond it is not read for ever."""
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE) as connection:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        connection.sendall(head.encode())
        answer = b""
        with contextlib.suppress(ConnectionError):
            while True:
                if select.select([connection], [], [], 0)[0]:
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    answer += piece
                connection.sendall(chunk)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert service.requests == []


def test_bodies_in_memory_are_bounded(gateway_process: Callable[..., Process], service: FakeService) -> None:
    """However much is sent, what is held is the bound of the route for each request that is under way."""
    validation = {"max_body": "1GB", "json_body": {"max_size": "256KB"}}
    route = {"path": "/", "service": "one", "auth_required": False, "validation": validation}
    one = gateway_process({"services": {"one": {"instances": [service.url]}}, "routes": [route], "admin": False})
    assert ask(one.address, "/", "POST", JSON, b"[]").status == 200
    before = one.peak_memory
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(4):
        peers = [one.connect() for _ in range(16)]
        for peer in peers:
            with contextlib.suppress(ConnectionError):
                peer.send(head, *[b"10000\r\n" + b" " * 65536 + b"\r\n"] * 32)
            with peer:
                assert peer.read_answer().status == 413
    assert one.peak_memory - before < 16 * 1024 * 1024
    assert service.count == 1


def test_json_has_its_own_bound(address: str) -> None:
    assert ask(address, "/tiny", "POST", JSON, b"[1,2,3,4,5,6,7,8,9]").status == 200
    assert ask(address, "/tiny", "POST", JSON, b"[1,2,3,4,5,6,7,8,9,10]").status == 413


def test_what_cannot_be_looked_at_is_refused(address: str) -> None:
    reply = ask(address, "/json", "POST", {**JSON, "Content-Encoding": "gzip"}, b"{}")
    assert (reply.status, code(reply)) == (415, "encoded_body")
    reply = ask(address, "/json", "POST", {"Content-Type": "text/plain"}, b"{}")
    assert (reply.status, code(reply)) == (415, "unsupported_media_type")


def test_requests_without_body_pass(address: str) -> None:
    assert ask(address, "/schema").status == 200
    assert ask(address, "/schema", "POST").status == 400


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"name": "a", "tags": [1, 2, 3]}, None),
        ({"name": "A s3cret"}, "/name"),
        ({"name": "a", "tags": [1, 2, 3, 4]}, "/tags"),
        ({"name": "a", "other": 1}, "the body"),
        ({}, "the body"),
        ([], "the body"),
    ],
)
def test_schema(address: str, service: FakeService, value: object, where: str | None) -> None:
    reply = ask(address, "/schema", "POST", {"Content-Type": "application/vnd.order+json"}, json.dumps(value).encode())
    assert len(service.requests) == (where is None)
    if where is None:
        assert reply.status == 200
    else:
        assert (reply.status, code(reply)) == (422, "schema_mismatch")
        assert reply.json()["detail"].startswith(f"{where} does not fit the schema")
        assert b"s3cret" not in reply.body


def test_a_client_that_waits_is_asked_for_the_body_once(address: str, service: FakeService) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE) as connection:
        head = b"POST /json HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        connection.sendall(head + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"100 Continue" not in answer
    assert service.requests[0].body == b"{}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{max_body: huge}", "not a size"),
        ("{content_types: json}", "not a media type"),
        ("{required_headers: ['a b']}", "must be a name"),
        ("{required_query: ['a b']}", "name of a query parameter"),
        ("{json_body: {max_depth: 500}}", "127"),
        ("{json_body: {json_schema: '{'}}", "is not JSON"),
        ("{json_body: {json_schema: {type: objekt}}}", "is not a schema"),
        ("{json_body: {json_schema: {pattern: '(?=a)'}}}", "cannot be used"),
        ("{json_body: {json_schema: {$ref: 'https://example.org/s.json'}}}", "cannot be used"),
        ("{json_bdy: true}", "did you mean `json_body`"),
    ],
)
def test_bad_configuration(tmp_path: Path, settings: str, words: str) -> None:
    file = tmp_path / "pylae.yaml"
    text = f"routes:\n  - {{path: /a, service_url: 'http://a', auth_required: false, validation: {settings}}}\n"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        Gateway.from_file(file).check()
    assert caught.value.problems[0].line == 2
