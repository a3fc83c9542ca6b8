"""HTTP/2 towards clients: the same exchanges as on HTTP/1.1, on streams."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import hpack
import pytest
from h2.events import RequestReceived
from hyperframe.frame import HeadersFrame

from support.h2client import Flooder, FramePeer
from support.h2servers import H2Connection, H2Instance
from support.instance import EchoInstance, RawInstance
from support.peer import Message, Peer
from support.programs import program
from support.running import Process, Running

Start = Callable[..., Running]
StartProcess = Callable[..., Process]

LISTENER = {"listeners": [{"address": "127.0.0.1:0", "http2": True}]}


def test_an_instance_sees_the_request_and_the_client_its_answer(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(LISTENER, echo=echo)
    with FramePeer(running.address) as peer:
        answer = peer.get("/a/../b?c=d", ("x-one", "1"), ("cookie", "a=1"), ("cookie", "b=2"))
    assert answer.status == 200
    seen = json.loads(answer.body)
    fields = dict(seen["headers"])
    assert (seen["method"], seen["target"]) == ("GET", "/b?c=d")
    assert fields["x-one"] == "1"
    assert fields["cookie"] == "a=1; b=2"
    assert fields["x-forwarded-host"] == "gateway.test"
    assert answer.get("x-request-id") == fields["x-request-id"]
    assert answer.get("content-length") == str(len(answer.body))
    assert not {"connection", "transfer-encoding", "keep-alive"} & {name for name, _ in answer.fields}


def test_credentials_enter_no_table(gateway: Start) -> None:
    """They are literals that are never indexed (RFC 7541 section 6.2.3), which also binds whoever passes them on."""

    def answer(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
        cookies = [("set-cookie", "a=1"), ("set-cookie", "b=2")]
        connection.h2.send_headers(stream, [(":status", "200"), *cookies, ("x-plain", "1")], end_stream=True)

    with H2Instance(answer) as instance:
        running = gateway({**LISTENER, "services": {"one": {"protocol": "http2"}}}, one=instance)
        with Flooder(running.address) as peer:
            fields = [("authorization", "Bearer x"), ("cookie", "c=3"), ("x-plain", "1")]
            decoder = hpack.Decoder()
            for stream in (1, 3):
                peer.send(peer.head(stream, "END_HEADERS", "END_STREAM", fields=fields))
                head = peer.wait(lambda frame: isinstance(frame, HeadersFrame), (stream + 1) // 2)[-1]
                answered = [(str(field[0]), not field.indexable) for field in decoder.decode(head.data)]
                assert [name for name, secret in answered if secret] == ["set-cookie", "set-cookie"]
                assert ("x-plain", False) in answered
        events = [event for event in instance.connections[0].events if isinstance(event, RequestReceived)]
        for event in events:
            asked = [(str(field[0]), not field.indexable) for field in event.headers or ()]  # type: ignore[attr-defined]
            assert [name for name, secret in asked if secret] == ["authorization", "cookie"]
        assert len(events) == 2


def test_http1_is_still_spoken_there(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(LISTENER, echo=echo)
    assert running.get("/x").status == 200
    with running.connect() as peer:
        # Byte by byte, so that the beginning is a beginning of the preface of HTTP/2 for a while.
        peer.send(*(bytes([byte]) for byte in b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n"))
        assert peer.read_answer().status == 200


def test_a_listener_without_it_refuses(gateway: Start, echo: EchoInstance) -> None:
    running = gateway("", echo=echo)
    with running.connect() as peer:
        peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert peer.read_answer().status == 505


def test_a_body_goes_both_ways(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(LISTENER, echo=echo)
    with FramePeer(running.address) as peer:
        for fields, sent in [((), "chunked"), ((("content-length", "5"),), "5")]:
            answer = peer.answer(peer.request("POST", "/", *fields, body=b"hello"))
            seen = json.loads(answer.body)
            assert seen["body"] == "hello"
            framing = dict(seen["headers"])
            assert framing.get("transfer-encoding", framing.get("content-length")) == sent


def test_many_exchanges_at_once_on_one_connection(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(LISTENER, echo=echo)
    with FramePeer(running.address) as peer:
        streams = [peer.request("GET", f"/{number}") for number in range(100)]
        targets = [json.loads(peer.answer(stream).body)["target"] for stream in streams]
    assert targets == [f"/{number}" for number in range(100)]


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_any_framing_of_the_instance(gateway: Start, framing: str) -> None:
    body = b"x" * 100_000
    head = b"HTTP/1.1 200 OK\r\n"

    def answer(peer: Peer, _: Message) -> None:
        if framing == "length":
            peer.send(head, b"Content-Length: 100000\r\n\r\n", body)
        elif framing == "chunked":
            peer.send(head, b"Transfer-Encoding: chunked\r\n\r\n", b"186A0\r\n" + body + b"\r\n0\r\n\r\n")
        else:
            peer.send(head, b"Connection: close\r\n\r\n", body)
            peer.end()

    with RawInstance(answer) as instance:
        running = gateway(LISTENER, instance=instance)
        with FramePeer(running.address) as peer:
            got = peer.get()
            assert got.body == body
            assert got.get("content-length") == ("100000" if framing == "length" else None)


def test_answers_without_body_end_with_their_head(gateway: Start) -> None:
    with RawInstance(b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n") as instance:
        running = gateway(LISTENER, instance=instance)
        with FramePeer(running.address) as peer:
            assert peer.get().status == 204
            answer = peer.answer(peer.request("HEAD", "/"))
            assert (answer.status, answer.get("content-length"), answer.body) == (200, "7", b"")


def test_trailers_pass_both_ways(gateway: Start) -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n"
    )
    with RawInstance(answer) as instance:
        running = gateway(LISTENER, instance=instance)
        with FramePeer(running.address) as peer:
            stream = peer.request("POST", "/", end=False, body=b"hello")
            peer.connection.send_headers(stream, [("x-end", "1"), ("x-user-id", "mallory")], end_stream=True)
            peer.flush()
            got = peer.answer(stream)
        # What may not stand behind a body does not pass.
        assert (got.body, got.trailers) == (b"ok", [("x-sum", "7")])
        assert instance.received.endswith(b"5\r\nhello\r\n0\r\nx-end: 1\r\n\r\n")


def test_an_instance_that_breaks_off_resets_the_stream_and_no_other(gateway: Start) -> None:
    def answer(peer: Peer, request: Message) -> None:
        if request.target == "/whole":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        else:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nhalf")
            peer.close()

    with RawInstance(answer) as instance:
        running = gateway(LISTENER, instance=instance)
        with FramePeer(running.address) as peer:
            broken = peer.answer(peer.request("GET", "/half"))
            assert (broken.ended, broken.reset) == (False, 2)
            assert peer.get("/whole").body == b"ok"


def test_a_client_that_resets_its_stream_frees_the_instance(gateway: Start) -> None:
    with RawInstance() as instance:
        running = gateway(LISTENER, instance=instance)
        with FramePeer(running.address) as peer:
            stream = peer.request("POST", "/", body=b"part", end=False)
            asked = instance.accept()
            asked.read_until(b"part\r\n")
            peer.connection.reset_stream(stream, 8)
            peer.flush()
            assert asked.read_all() == b""


def test_refusals_are_as_everywhere(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(
        {**LISTENER, "limits": {"max_body": 10}, "routes": [{"name": "a", "prefix": "/a", "service": "echo"}]},
        echo=echo,
    )
    with FramePeer(running.address) as peer:
        missing = peer.get("/b")
        assert (missing.status, missing.get("content-type")) == (404, "application/problem+json")
        assert json.loads(missing.body)["error"]
        assert peer.get("/a%2fb").status == 400
        assert peer.answer(peer.request("POST", "/a", ("content-length", "11"), body=b"x" * 11)).status == 413
        assert peer.answer(peer.request("POST", "/a", body=b"x" * 11)).status == 413
        assert peer.answer(peer.open([(":method", "CONNECT"), (":authority", "a:1")])).status == 501
        assert peer.get("/a").status == 200


MALFORMED = {
    "no path": [(":method", "GET"), (":scheme", "http"), (":authority", "a")],
    "no scheme": [(":method", "GET"), (":authority", "a"), (":path", "/")],
    "no method": [(":scheme", "http"), (":authority", "a"), (":path", "/")],
    "no authority": [(":method", "GET"), (":scheme", "http"), (":path", "/")],
    "empty path": [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "")],
    "another scheme": [(":method", "GET"), (":scheme", "gopher"), (":authority", "a"), (":path", "/")],
    "host differs": [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"), ("host", "b")],
    "repeated method": [
        (":method", "GET"),
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ],
    "pseudo-field behind": [(":method", "GET"), (":scheme", "http"), (":authority", "a"), ("x", "y"), (":path", "/")],
    "status": [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"), (":status", "200")],
    **{
        f"{name}: {value}": [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
            (name, value),
        ]
        for name, value in [
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("keep-alive", "1"),
            ("proxy-connection", "close"),
            ("te", "gzip"),
            ("x-blank", " 1"),
            ("X-Upper", "1"),
            ("x y", "1"),
            (":x", "y"),
            ("x-feed", "a\nb"),
            ("x-nul", "a\0b"),
            ("content-length", "5"),
            ("content-length", "x"),
        ]
    },
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_requests_are_reset_before_anybody_sees_them(gateway: Start, echo: EchoInstance, case: str) -> None:
    running = gateway(LISTENER, echo=echo)
    with FramePeer(running.address) as peer:
        answer = peer.answer(peer.open(MALFORMED[case]))
        # RFC 9113 section 8.1.1: a stream error of type PROTOCOL_ERROR.
        assert (answer.reset, answer.fields) == (1, [])
        assert peer.get("/").status == 200
    assert echo.count == 1


def test_a_body_that_is_not_as_long_as_said_is_reset(gateway: Start) -> None:
    with RawInstance() as instance:
        running = gateway(LISTENER, instance=instance)
        with FramePeer(running.address) as peer:
            for body in (b"1234", b"123456"):
                stream = peer.request("POST", "/", ("content-length", "5"), body=body)
                assert peer.answer(stream).reset == 1


def test_expect_is_answered_by_the_gateway(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(LISTENER, echo=echo)
    with FramePeer(running.address) as peer:
        stream = peer.request("POST", "/", ("expect", "100-continue"), end=False)
        peer.wait(lambda: any(type(event).__name__ == "InformationalResponseReceived" for event in peer.events))
        peer.connection.send_data(stream, b"now", end_stream=True)
        peer.flush()
        answer = peer.answer(stream)
    assert (answer.status, json.loads(answer.body)["body"]) == (200, "now")


def test_curl_and_h2load(gateway: Start, echo: EchoInstance, tmp_path: Path) -> None:
    running = gateway(LISTENER, echo=echo)
    sent = tmp_path / "sent"
    sent.write_bytes(b"x" * 1_000_000)
    got = subprocess.run(
        [
            program("curl"),
            "-sS",
            "--http2-prior-knowledge",
            "--data-binary",
            f"@{sent}",
            "-w",
            "%{http_version}",
            running.url,
        ],
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert got.stdout.endswith(b"2")
    assert len(json.loads(got.stdout[:-1])["body"]) == 1_000_000
    loaded = subprocess.run(
        [program("h2load", "nghttp2-client"), "-n", "2000", "-c", "4", "-m", "50", running.url],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in loaded.stdout


def test_a_stored_answer_comes_whole_however_large_it_is(gateway: Start) -> None:
    body = bytes(range(256)) * 400
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n" % len(body)
    with RawInstance(head + body) as instance:
        routes = [{"name": "a", "prefix": "/", "service": "instance", "cache": True}]
        running = gateway({**LISTENER, "routes": routes}, instance=instance)
        with FramePeer(running.address) as peer:
            assert peer.get().body == body
            stored = peer.get()
            assert (stored.body, stored.get("age") is not None, stored.ended) == (body, True, True)
            head_only = peer.answer(peer.request("HEAD", "/"))
            assert (head_only.body, head_only.get("content-length")) == (b"", str(len(body)))
        assert len(instance.requests) == 1
