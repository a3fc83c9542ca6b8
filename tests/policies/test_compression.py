from __future__ import annotations

import gzip
import socket
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylae import ConfigError, Gateway
from pylae.testing import FakeService, Headers, Reply
from support.exchanges import DEADLINE, ask, gateway
from support.instance import RawInstance
from support.peer import Peer

CONFIGURATION = """
services: {{one: {{instances: ["{url}"]}}}}
policies: {{compression: {{algorithms: [gzip, br, zstd], min_size: 100}}, transform: {{normalize_errors: true}}}}
routes:
  - {{path: /, service: one, auth_required: false}}
  - {{path: /plain, service: one, auth_required: false, compression: false}}
  - {{path: /cached, service: one, auth_required: false, cache: true}}
  - {{path: /own, auth_required: false, static_response: "{own}"}}
"""
TEXT = b"all work and no play makes jack a dull boy\n" * 2000
MAGIC = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService(Reply(body=TEXT)) as running:
        yield running


@pytest.fixture
def address(service: FakeService, tmp_path: Path) -> Iterator[str]:
    with gateway(tmp_path, CONFIGURATION.format(url=service.url, own="x" * 1000)) as running:
        yield running


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("accept", "coding"), [("gzip", "gzip"), ("zstd, br;q=0.1", "zstd"), ("br", "br")])
def test_compressed(address: str, service: FakeService, accept: str, coding: str, chunked: bool) -> None:
    headers = [("Content-Type", "text/html"), ("ETag", '"v1"'), ("Accept-Ranges", "bytes"), ("Content-MD5", "x")]
    service.answer = lambda _: Reply(headers=headers, body=TEXT, chunked=chunked)
    reply = ask(address, headers={"Accept-Encoding": accept})
    assert reply.status == 200
    assert reply.headers.get("Content-Encoding") == coding
    assert reply.headers.get("Vary") == "Accept-Encoding"
    assert reply.headers.get("ETag") == 'W/"v1"'
    assert reply.headers.get("Accept-Ranges") is None
    assert reply.headers.get("Content-MD5") is None
    assert len(reply.body) < len(TEXT) / 10
    assert reply.body.startswith(MAGIC.get(coding, b""))
    if coding == "gzip":
        assert gzip.decompress(reply.body) == TEXT


def test_large_bodies(address: str, service: FakeService) -> None:
    body = bytes(range(256)) * 40_000
    service.answer = lambda _: Reply(body=body)
    assert gzip.decompress(ask(address, headers={"Accept-Encoding": "gzip"}).body) == body


@pytest.mark.parametrize(
    ("accept", "reply"),
    [
        (None, Reply(body=TEXT)),
        ("identity", Reply(body=TEXT)),
        ("gzip;q=0", Reply(body=TEXT)),
        ("gzip", Reply(body=TEXT[:99])),
        ("gzip", Reply(headers=[("Content-Type", "image/png")], body=TEXT)),
        ("gzip", Reply(headers=[], body=TEXT)),
        ("gzip", Reply(headers=[("Content-Type", "text/plain"), ("Content-Encoding", "br")], body=TEXT)),
        ("gzip", Reply(headers=[("Content-Type", "text/plain"), ("Cache-Control", "a, no-transform")], body=TEXT)),
        ("gzip", Reply(206, [("Content-Type", "text/plain"), ("Content-Range", "bytes 0-99/200")], TEXT[:150])),
        ("gzip", Reply(headers=[("Content-Type", "text/event-stream")], body=TEXT)),
    ],
    ids=["nothing said", "identity", "q=0", "small", "image", "no type", "encoded", "no-transform", "part", "events"],
)
def test_left_alone(address: str, service: FakeService, accept: str | None, reply: Reply) -> None:
    service.answer = lambda _: reply
    got = ask(address, headers={"Accept-Encoding": accept} if accept else {})
    assert (got.status, got.body) == (reply.status, reply.body)
    assert got.headers.get("Content-Encoding") == Headers(reply.headers).get("Content-Encoding")
    assert got.headers.get("Content-Length") == str(len(reply.body))


def test_no_transform_on_any_line_is_obeyed(address: str, service: FakeService) -> None:
    lines = [("Content-Type", "text/plain"), ("Cache-Control", "public"), ("Cache-Control", "max-age=5, No-Transform")]
    service.answer = lambda _: Reply(headers=lines, body=TEXT)
    reply = ask(address, headers={"Accept-Encoding": "gzip"})
    assert (reply.headers.get("Content-Encoding"), reply.headers.get("Vary"), reply.body) == (None, None, TEXT)


def test_digests_of_the_plain_body_do_not_follow_the_compressed_one(address: str, service: FakeService) -> None:
    digests = [(name, "sha-256=:x:") for name in ("Content-Digest", "Repr-Digest", "Digest", "Content-MD5")]
    service.answer = lambda _: Reply(headers=[("Content-Type", "text/plain"), *digests], body=TEXT)
    for accept, kept in (("gzip", False), ("identity", True)):
        reply = ask(address, headers={"Accept-Encoding": accept})
        assert [reply.headers.get(name) is not None for name, _ in digests] == [kept] * 4


def test_digests_behind_the_plain_body_do_not_follow_either(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = head + b"5\r\nhello\r\n0\r\nRepr-Digest: sha-256=:x:\r\nX-Checked: yes\r\n\r\n"
    with RawInstance(answer) as instance, gateway(tmp_path, CONFIGURATION.format(url=instance.url, own="x")) as address:
        for accept, trailers in (("gzip", ["x-checked"]), ("identity", ["repr-digest", "x-checked"])):
            with Peer.connect(address) as peer:
                peer.send(f"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {accept}\r\n\r\n".encode())
                assert [name.lower() for name, _ in peer.read_answer().trailers] == trailers


@pytest.mark.parametrize(
    ("accept", "held", "etag"),
    [
        ("gzip", 'W/"v1"', 'W/"v1"'),
        ("gzip", '"v1"', '"v1"'),
        ("gzip", '"v0", "v1", W/"v1"', 'W/"v1"'),
        ("identity", 'W/"v1"', '"v1"'),
        ("gzip", "*", 'W/"v1"'),
    ],
)
def test_a_304_names_the_validator_of_the_answer_that_it_stands_for(
    address: str, service: FakeService, accept: str, held: str, etag: str
) -> None:
    service.answer = lambda _: Reply(304, [("ETag", '"v1"')], b"")
    reply = ask(address, headers={"Accept-Encoding": accept, "If-None-Match": held})
    assert (reply.status, reply.headers.get("ETag"), reply.headers.get("Vary")) == (304, etag, "Accept-Encoding")


def test_a_stored_304_does_so_too(address: str, service: FakeService) -> None:
    service.answer = lambda _: Reply(headers=[("Content-Type", "text/plain"), ("ETag", '"v1"')], body=TEXT)
    first = ask(address, "/cached", headers={"Accept-Encoding": "gzip"})
    etag = first.headers.get("ETag")
    assert etag == 'W/"v1"'
    reply = ask(address, "/cached", headers={"Accept-Encoding": "gzip", "If-None-Match": etag})
    assert (reply.status, reply.headers.get("ETag"), len(service.requests)) == (304, etag, 1)


@pytest.mark.parametrize(
    ("kind", "vary"),
    [("text/plain", "Accept-Encoding"), ("multipart/byteranges; boundary=x", "Accept-Encoding"), ("image/png", None)],
)
def test_a_part_is_plain_and_says_that_the_whole_could_be_compressed(
    address: str, service: FakeService, kind: str, vary: str | None
) -> None:
    headers = [
        ("Content-Type", kind),
        ("Content-Range", "bytes 0-9/5000"),
        ("ETag", '"v1"'),
        ("Accept-Ranges", "bytes"),
    ]
    service.answer = lambda _: Reply(206, headers, b"x" * 10)
    reply = ask(address, headers={"Accept-Encoding": "gzip", "Range": "bytes=0-9"})
    assert (reply.status, reply.headers.get("Content-Encoding"), reply.body) == (206, None, b"x" * 10)
    assert (reply.headers.get("Vary"), reply.headers.get("ETag")) == (vary, '"v1"')
    assert reply.headers.get("Accept-Ranges") == "bytes"


def test_a_request_may_forbid_it(address: str) -> None:
    assert ask(address, headers={"Accept-Encoding": "gzip", "Cache-Control": "no-transform"}).body == TEXT
    assert ask(address, "/plain", headers={"Accept-Encoding": "gzip"}).body == TEXT


def test_what_could_be_compressed_varies(address: str, service: FakeService) -> None:
    assert ask(address).headers.get("Vary") == "Accept-Encoding"
    service.answer = lambda _: Reply(304, [("ETag", '"v1"')], b"")
    reply = ask(address, headers={"Accept-Encoding": "gzip", "If-None-Match": 'W/"v1"'})
    assert (reply.status, reply.headers.get("Vary"), reply.headers.get("Content-Encoding")) == (
        304,
        "Accept-Encoding",
        None,
    )


def test_heads_say_the_same(address: str) -> None:
    reply = ask(address, method="HEAD", headers={"Accept-Encoding": "gzip"})
    assert (reply.headers.get("Content-Encoding"), reply.headers.get("Content-Length"), reply.body) == (
        "gzip",
        None,
        b"",
    )


def test_own_answers(address: str) -> None:
    reply = ask(address, "/own", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(reply.body) == b"x" * 1000
    assert reply.headers.get("Content-Length") == str(len(reply.body))


def test_stored_answers(address: str, service: FakeService) -> None:
    service.answer = lambda _: Reply(headers=[("Content-Type", "text/plain"), ("ETag", '"v1"')], body=TEXT)
    for accept, coding in [("gzip", "gzip"), ("gzip", "gzip"), (None, None), ("zstd", "zstd"), ("gzip", "gzip")]:
        reply = ask(address, "/cached", headers={"Accept-Encoding": accept} if accept else {})
        assert reply.headers.get("Content-Encoding") == coding
        assert reply.headers.get("ETag") == ('W/"v1"' if coding else '"v1"')
        if coding == "gzip":
            assert gzip.decompress(reply.body) == TEXT
        elif coding is None:
            assert reply.body == TEXT
    assert len(service.requests) == 1


def test_replaced_errors_are_compressed_as_what_they_are(address: str, service: FakeService) -> None:
    service.answer = lambda _: Reply(500, [("Content-Type", "image/png"), ("Content-Encoding", "gzip")], b"x" * 5000)
    reply = ask(address, headers={"Accept-Encoding": "gzip"})
    assert reply.headers.get("Content-Encoding") == "gzip"
    assert b"urn:pylae:error:service_error" in gzip.decompress(reply.body)


def test_an_old_client_gets_it_until_the_end(address: str) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length" not in head.lower()
    assert b"transfer-encoding" not in head.lower()
    assert gzip.decompress(body) == TEXT


def test_a_stream_is_not_held_back(tmp_path: Path) -> None:
    """What the service has sent reaches the client although more is to come."""
    go_on = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                connection.sendall(head + b"5\r\nfirst\r\n")
                go_on.wait(DEADLINE)
                connection.sendall(b"6\r\nsecond\r\n0\r\n\r\n")
                connection.recv(65536)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with gateway(tmp_path, CONFIGURATION.format(url=url, own="x")) as address:
            host, _, port = address.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=DEADLINE) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
                answer, plain = b"", b""
                while plain != b"first":
                    answer += connection.recv(65536)
                    plain = zlib.decompressobj(31).decompress(answer.partition(b"\r\n\r\n")[2])
                go_on.set()
                answer += b"".join(iter(lambda: connection.recv(65536), b""))
        thread.join()
    assert gzip.decompress(answer.partition(b"\r\n\r\n")[2]) == b"firstsecond"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{algorithms: deflate}", "zstd"),
        ("{algorithms: []}", "at least 1"),
        ("{algorithms: [br, br]}", "twice"),
        ("{types: json}", "not a media type"),
        ("{min_size: -1}", "negative"),
    ],
)
def test_bad_configuration(tmp_path: Path, settings: str, words: str) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(f"policies:\n  compression: {settings}\n")
    with pytest.raises(ConfigError, match=words):
        Gateway.from_file(file).check()
