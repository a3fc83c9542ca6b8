"""What instances may do wrong (`threats.md`: bad answers from an instance, upstream desync)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.instance import OK, RawInstance
from support.peer import Message, Peer, wait_until
from support.running import Running

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


def _ok(fields: bytes, body: bytes = b"hello") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n" + body


BAD_ANSWERS = {
    "status out of range": b"HTTP/1.1 600 No\r\nContent-Length: 0\r\n\r\n",
    "status 999": b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n",
    "status zero": b"HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status that is no number": b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
    "signed status": b"HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n",
    "no status": b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "other protocol": b"SSH-2.0-OpenSSH_9.0\r\n\r\n",
    "version 2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "lower-case version": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "unasked 101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n" + OK,
    "endless 1xx": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100 + OK,
    "length and chunked": _ok(b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    "two equal lengths": _ok(b"Content-Length: 5\r\nContent-Length: 5"),
    "two different lengths": _ok(b"Content-Length: 5\r\nContent-Length: 6"),
    "list of lengths": _ok(b"Content-Length: 5, 5"),
    "signed length": _ok(b"Content-Length: +5"),
    "length of twenty digits": _ok(b"Content-Length: 00000000000000000005"),
    "other coding": _ok(b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"),
    "chunked twice": _ok(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "bare LF behind a field": _ok(b"X: y\nContent-Length: 5"),
    "folded field": _ok(b"X: a\r\n b\r\nContent-Length: 5"),
    "space before the colon": _ok(b"Content-Length : 5"),
    "no colon": _ok(b"nonsense\r\nContent-Length: 5"),
    "NUL in a value": _ok(b"X: \x00\r\nContent-Length: 5"),
    "control character in the reason": b"HTTP/1.1 200 O\x01K\r\nContent-Length: 5\r\n\r\nhello",
    "bare CR in a value": _ok(b"X: a\rb\r\nContent-Length: 5"),
    "nominates Set-Cookie": _ok(b"Connection: set-cookie\r\nSet-Cookie: a=b\r\nContent-Length: 5"),
    "nominates Content-Length": _ok(b"Connection: content-length\r\nContent-Length: 5"),
    "nominates a field and has two lengths": _ok(b"Connection: X-Foo\r\nX-Foo: 1\r\nContent-Length: 5, 5"),
    "nominates a field and Set-Cookie": _ok(b"Connection: x-a, set-cookie\r\nX-A: 1\r\nContent-Length: 5"),
    "giant head": _ok(b"X: " + b"a" * 100_000 + b"\r\nContent-Length: 5"),
    "very many fields": _ok(b"X: a\r\n" * 200 + b"Content-Length: 5"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_it_becomes_502_and_the_connection_is_not_used_again(name: str, gateway: Callable[..., Running]) -> None:
    with RawInstance(BAD_ANSWERS[name]) as instance:
        running = gateway("routes: [{prefix: /, service: all, retries: 0}]", all=instance)
        with running.connect() as client:
            client.send(GET)
            first = client.read_answer()
            assert first.status == 502
            assert b"hello" not in first.body
            # The client's own connection goes on, over another one to the instance.
            client.send(GET)
            assert client.read_answer().status == 502
        assert instance.connections == 2
        assert instance.peers[0].at_end()


HALF_ANSWERS = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 20",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
}


@pytest.mark.parametrize("name", HALF_ANSWERS)
def test_half_a_head_is_502(name: str, gateway: Callable[..., Running]) -> None:
    def half(peer: Peer, _: Message) -> None:
        peer.send(HALF_ANSWERS[name])
        peer.end()

    with RawInstance(half) as instance:
        running = gateway("routes: [{prefix: /, service: all, retries: 0}]", all=instance)
        assert running.get().status == 502
        assert instance.connections == 1


HALF_BODIES = {
    "length": _ok(b"Content-Length: 10"),
    "chunked": _ok(b"Transfer-Encoding: chunked", b"5\r\nhello\r\n"),
    "half a chunk": _ok(b"Transfer-Encoding: chunked", b"a\r\nhello"),
    "bad chunk": _ok(b"Transfer-Encoding: chunked", b"5\r\nhello\r\nzz\r\n"),
    "bare LF in a chunk": _ok(b"Transfer-Encoding: chunked", b"5\nhello\r\n0\r\n\r\n"),
    "bad extension": _ok(b"Transfer-Encoding: chunked", b"5;a=\r\nhello\r\n0\r\n\r\n"),
    "line end in a quoted extension": _ok(b"Transfer-Encoding: chunked", b'5\r\nhello\r\n5;a="\r\nhello\r\n0\r\n\r\n'),
    "bad extension of the last chunk": _ok(b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0;a b\r\n\r\n"),
    "bad trailer": _ok(b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\nX : y\r\n\r\n"),
}


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("name", HALF_BODIES)
def test_half_a_body_never_looks_whole(name: str, version: str, gateway: Callable[..., Running]) -> None:
    def half(peer: Peer, _: Message) -> None:
        peer.send(HALF_BODIES[name])
        peer.end()

    with RawInstance(half) as instance:
        running = gateway(all=instance)
        with running.connect() as client:
            client.send(f"GET /x HTTP/{version}\r\nHost: a\r\n\r\n".encode())
            # The client must be able to tell: a length not reached, no last chunk, or a reset.
            with pytest.raises((AssertionError, ConnectionResetError)):
                client.read_answer()
            assert not client.received.endswith(b"\r\n0\r\n\r\n")


def test_a_body_cut_short_is_a_reset_where_only_the_end_of_the_connection_tells(
    gateway: Callable[..., Running],
) -> None:
    with RawInstance() as instance:
        running = gateway(all=instance)
        with running.connect() as client:
            client.send(b"GET /x HTTP/1.0\r\n\r\n")
            peer = instance.accept()
            peer.read_request()
            peer.send(_ok(b"Transfer-Encoding: chunked", b"5\r\nhello\r\n"))
            assert client.read_head().status == 200
            assert client.read(5) == b"hello"
            peer.end()
            with pytest.raises(ConnectionResetError):
                client.read_all()


def test_what_came_of_a_broken_answer_is_passed_on(gateway: Callable[..., Running]) -> None:
    def half(peer: Peer, _: Message) -> None:
        peer.send(_ok(b"Content-Length: 10"))
        peer.end()

    with RawInstance(half) as instance:
        running = gateway(all=instance)
        with running.connect() as client:
            client.send(GET)
            assert client.read_head().one("content-length") == "10"
            assert client.read(5) == b"hello"
            assert client.at_end()


def test_chunk_extensions_end_here(gateway: Callable[..., Running]) -> None:
    body = b'2;a\r\nhe\r\n3 ; b\t= "c;\\"" ;d=e\r\nllo\r\n0;last=""\r\n\r\n'
    with RawInstance(_ok(b"Transfer-Encoding: chunked", body)) as instance, gateway(all=instance).connect() as client:
        client.send(GET)
        assert client.read_answer().body == b"hello"
        assert b";" not in client.received.partition(b"\r\n\r\n")[2]


def test_bytes_behind_an_answer_are_nobodys_answer(gateway: Callable[..., Running]) -> None:
    with RawInstance(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison") as instance:
        running = gateway(all=instance)
        with running.connect() as client:
            for _ in range(3):
                client.send(GET)
                assert client.read_answer().body == b"ok"
        assert instance.connections == 3


def test_bytes_on_an_idle_connection_end_it(gateway: Callable[..., Running]) -> None:
    with RawInstance() as instance:
        running = gateway(all=instance)
        with running.connect() as client:
            client.send(GET)
            peer = instance.accept()
            peer.read_request()
            peer.send(OK)
            assert client.read_answer().body == b"ok"
            wait_until(lambda: running.gateway.stats()["totals"]["idle_upstream"] == 1)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
            assert peer.at_end()
            client.send(GET)
            other = instance.accept()
            other.read_request()
            other.send(OK)
            assert client.read_answer().body == b"ok"


BODY_WITHOUT_RIGHT = {
    "HEAD": (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200),
    "204": (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", 204),
    "304": (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", 304),
}


@pytest.mark.parametrize("name", BODY_WITHOUT_RIGHT)
def test_a_body_where_none_may_be(name: str, gateway: Callable[..., Running]) -> None:
    method, answer, status = BODY_WITHOUT_RIGHT[name]
    with RawInstance(answer, OK) as instance:
        running = gateway(all=instance)
        with running.connect() as client:
            client.send(method + GET.removeprefix(b"GET"))
            assert client.read_answer(method.decode()).status == status
            client.send(GET)
            assert client.read_answer().body == b"ok"
        assert instance.connections == 2


def test_hop_by_hop_fields_of_an_answer_stay(gateway: Callable[..., Running]) -> None:
    fields = (
        b"Connection: keep-alive, X-Private\r\nKeep-Alive: timeout=5\r\nX-Private: 1\r\nProxy-Authenticate: Basic\r\n"
        b"Trailer: X\r\nUpgrade: h2c\r\nProxy-Connection: close\r\nTE: trailers\r\nX-Public: 1\r\nContent-Length: 5"
    )
    with RawInstance(_ok(fields)) as instance:
        answer = gateway(all=instance).get()
    assert answer.one("x-public") == "1"
    kept = {name for name, _ in answer.fields}
    assert not kept & {"connection", "keep-alive", "x-private", "proxy-authenticate", "trailer", "upgrade", "te"}


NOMINATING = _ok(b"Connection: X-Foo, X-Bar\r\nX-Foo: 1\r\nX-Bar: 2\r\nContent-Length: 5")


def test_what_an_answer_nominates_means_nothing_to_the_next_one(gateway: Callable[..., Running]) -> None:
    with RawInstance(NOMINATING) as instance:
        running = gateway("routes: [{path: /x, service: all}]", all=instance)
        with running.connect() as client:
            for _ in range(2):
                client.send(GET, GET.replace(b"/x", b"/nothing"))
                assert client.read_answer().status == 200
                assert client.read_answer().status == 404


def test_what_an_answer_nominates_means_nothing_to_what_replaces_it(
    gateway: Callable[..., Running], dead_url: str
) -> None:
    with RawInstance(NOMINATING.replace(b"200 OK", b"503 Not now")) as instance:
        routes = "routes: [{prefix: /, service: all, retries: 1, retry_on: server_error}]"
        running = gateway(routes, all=[instance.url, dead_url])
        with running.connect() as client:
            answers = []
            for _ in range(2):
                client.send(GET)
                answers.append(client.read_answer())
        # One of the two at least began with the instance and ended with the one that cannot be reached.
        assert 502 in {answer.status for answer in answers} <= {502, 503}
        assert not [answer for answer in answers if "x-foo" in answer]


def test_a_large_head_passes_up_to_the_limit(gateway: Callable[..., Running]) -> None:
    value = b"a" * 30_000
    with RawInstance(_ok(b"X-Large: " + value + b"\r\nContent-Length: 5")) as instance:
        running = gateway(all=instance)
        with running.connect() as client:
            for _ in range(3):
                client.send(GET)
                answer = client.read_answer()
                assert (answer.status, answer.body) == (200, b"hello")
                assert answer.one("x-large") == value.decode()
        assert instance.connections == 1


def test_an_instance_that_closes_after_its_answer(gateway: Callable[..., Running]) -> None:
    def close(peer: Peer, _: Message) -> None:
        peer.send(OK)
        peer.close()

    with RawInstance(close) as instance:
        running = gateway(all=instance)
        with running.connect() as client:
            for _ in range(20):
                client.send(GET)
                assert client.read_answer().status == 200
        assert instance.connections == 20


def test_an_instance_that_says_close_is_not_asked_again(gateway: Callable[..., Running]) -> None:
    with RawInstance(_ok(b"Connection: close\r\nContent-Length: 5")) as instance:
        running = gateway(all=instance)
        with running.connect() as client:
            for _ in range(2):
                client.send(GET)
                answer = client.read_answer()
                assert answer.status == 200
                assert "connection" not in answer
        assert instance.connections == 2


def test_http_1_0_instances_without_keep_alive_are_not_asked_again(gateway: Callable[..., Running]) -> None:
    with RawInstance(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello") as instance:
        running = gateway(all=instance)
        assert [running.get().body, running.get().body] == [b"hello", b"hello"]
        assert instance.connections == 2
