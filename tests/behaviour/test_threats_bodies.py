"""Bodies that nobody reads, answers that come early, `Expect` (`threats.md`: unread body, early answer)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.instance import OK, RawInstance
from support.peer import Message, Peer
from support.running import Running

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\n"
SECOND = b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n"
ONLY_A = "routes: [{path: /a, service: all}]"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_a_body_that_looks_like_a_request_is_a_body(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway(all=instance)
    answers = running.raw(HEAD + b"Content-Length: %d\r\n\r\n" % len(SECOND) + SECOND + SECOND, 2)
    assert [answer.status for answer in answers] == [200, 200]
    assert [(request.target, request.body) for request in instance.requests] == [("/x", SECOND), ("/second", b"")]


def test_a_refused_request_with_a_body_does_not_desynchronise(
    gateway: Callable[..., Running], instance: RawInstance
) -> None:
    running = gateway(ONLY_A, all=instance)
    body = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
    for framed in (
        b"Content-Length: %d\r\n\r\n" % len(body) + body,
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n",
    ):
        answers = running.raw(HEAD + framed + SECOND, 2)
        assert [answer.status for answer in answers] == [404, 404]
    assert instance.connections == 0


def test_a_large_body_that_nobody_wants_ends_the_connection(
    gateway: Callable[..., Running], instance: RawInstance
) -> None:
    running = gateway(ONLY_A, all=instance)
    answers = running.raw(HEAD + b"Content-Length: 5000000\r\n\r\n")
    assert [answer.status for answer in answers] == [404]
    assert answers[0].one("connection") == "close"


def test_a_chunked_body_that_nobody_wants_ends_the_connection_unless_it_is_over(
    gateway: Callable[..., Running], instance: RawInstance
) -> None:
    """An answer that promises a further exchange is followed by one."""
    running = gateway(ONLY_A, all=instance)
    answers = running.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    assert [(answer.status, answer.one("connection")) for answer in answers] == [(404, "close")]


def test_a_short_body_that_nobody_wants_may_still_come(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway(ONLY_A, all=instance)
    with running.connect() as client:
        client.send(HEAD + b"Content-Length: 100\r\n\r\n")
        answer = client.read_answer()
        assert (answer.status, answer.one("connection")) == (404, None)
        client.send(bytes(100) + SECOND)
        assert client.read_answer().status == 404


def test_an_answer_reaches_a_client_that_is_still_sending(
    gateway: Callable[..., Running], instance: RawInstance
) -> None:
    running = gateway(ONLY_A, all=instance)
    with running.connect() as client:
        # All of it is sent before anything is read, as simple clients do.
        client.send(HEAD + b"Content-Length: 700000\r\n\r\n", bytes(700_000))
        assert client.read_answer().status == 404
        assert client.at_end()


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_an_early_answer_of_an_instance(framing: bytes, gateway: Callable[..., Running]) -> None:
    with RawInstance() as instance:
        running = gateway(all=instance)
        with running.connect() as client:
            client.send(HEAD + framing + b"\r\n\r\n")
            peer = instance.accept()
            peer.read_head()
            peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            answer = client.read_answer()
            assert (answer.status, answer.body, answer.one("connection")) == (403, b"no", "close")
            assert client.at_end()
        # Its request was never completed, so nothing else may be sent over this connection.
        assert peer.at_end()
        with running.connect() as client:
            client.send(SECOND)
            other = instance.accept()
            assert other.read_request().target == "/second"


def test_an_instance_that_answers_early_and_closes(gateway: Callable[..., Running]) -> None:
    def refuse(peer: Peer, _: Message) -> None:
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        peer.close()

    class Early(RawInstance):
        """Answers the head and does not read the body."""

        def _serve(self, peer: Peer) -> None:
            refuse(peer, peer.read_head())

    with Early(OK) as instance:
        running = gateway(all=instance)
        for _ in range(5):
            with running.connect() as client:
                client.send(HEAD + b"Content-Length: 3000000\r\n\r\n", bytes(300_000))
                answer = client.read_answer()
                assert (answer.status, answer.body) == (413, b"no")


def test_an_early_answer_whose_body_goes_on(gateway: Callable[..., Running]) -> None:
    """An echo that answers while it is being sent to: both bodies must flow."""
    with RawInstance() as instance:
        running = gateway(all=instance)
        with running.connect() as client:
            client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            peer = instance.accept()
            peer.read_head()
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert client.read_head().status == 200
            for piece in (b"5\r\nfirst\r\n", b"6\r\nsecond\r\n", b"0\r\n\r\n"):
                client.send(piece)
                assert peer.read(len(piece)) == piece
                peer.send(piece)
                assert client.read(len(piece)) == piece


def test_one_continue_when_the_body_is_awaited(gateway: Callable[..., Running]) -> None:
    with RawInstance() as instance:
        running = gateway(all=instance)
        with running.connect() as client:
            client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            assert client.read(len(CONTINUE)) == CONTINUE
            client.send(b"hello")
            peer = instance.accept()
            request = peer.read_request()
            assert ("expect" in request, request.body) == (False, b"hello")
            # An instance that invites all the same adds nothing.
            peer.send(CONTINUE + OK)
            assert client.read_answer(interim=True).status == 200
            client.send(SECOND)
            peer.read_request()
            peer.send(OK)
            assert client.read_answer(interim=True).status == 200


def test_no_continue_when_the_body_is_there_or_empty(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway(all=instance)
    for rest in (b"Content-Length: 5\r\n\r\nhello", b"Content-Length: 0\r\n\r\n", b"\r\n"):
        with running.connect() as client:
            client.send(HEAD + b"Expect: 100-continue\r\n" + rest)
            assert client.read_answer(interim=True).status == 200


def test_no_continue_for_http_1_0(gateway: Callable[..., Running]) -> None:
    with RawInstance(OK) as instance:
        running = gateway(all=instance)
        with running.connect() as client:
            client.send(b"POST /x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", b"hello")
            assert client.read_answer(interim=True).status == 200


@pytest.mark.parametrize(
    ("configuration", "status"),
    [(ONLY_A, 404), ("routes: [{path: /x, method: GET, service: all}]", 405), ("limits: {max_body: 4}", 413)],
)
def test_a_refused_expectation_gets_its_answer_at_once(
    configuration: str, status: int, gateway: Callable[..., Running], instance: RawInstance
) -> None:
    running = gateway(configuration, all=instance)
    with running.connect() as client:
        client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        answer = client.read_answer(interim=True)
        assert answer.status == status
        # Whether the body comes is not known, so the connection cannot go on.
        assert answer.one("connection") == "close"
        assert client.at_end()
    assert instance.connections == 0


def test_no_continue_without_an_instance(gateway: Callable[..., Running], dead_url: str) -> None:
    running = gateway(all=dead_url)
    with running.connect() as client:
        client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert client.read_answer(interim=True).status == 502


def test_a_websocket_upgrade_is_an_ordinary_request(gateway: Callable[..., Running], instance: RawInstance) -> None:
    """The route does not allow it: bytes behind it are the next request, and the instance is not asked to switch."""
    running = gateway(all=instance)
    upgrade = (
        b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    answers = running.raw(upgrade + SECOND, 2)
    assert [answer.status for answer in answers] == [200, 200]
    assert [request.target for request in instance.requests] == ["/x", "/second"]
    assert "upgrade" not in instance.requests[0]


def test_an_upload_that_ends_early_never_looks_whole(gateway: Callable[..., Running]) -> None:
    for framed in (b"Content-Length: 10\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"):
        with RawInstance() as instance:
            running = gateway(all=instance)
            with running.connect() as client:
                client.send(HEAD + framed)
                peer = instance.accept()
                peer.read_until(b"hello")
            while not peer.at_end():
                peer.read(len(peer.pending()))
            assert not peer.received.endswith(b"0\r\n\r\n")
