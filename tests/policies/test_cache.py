"""The response cache over real sockets: what is answered from memory, and that nobody gets another's answer."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from email.utils import formatdate
from typing import Any

import pytest

from pylae import ConfigError
from support.instance import RawInstance
from support.peer import Message, Peer, wait_until
from support.running import Running
from support.tokens import SECRET, bearer, token

Start = Callable[..., Running]


def route(**cache: Any) -> dict[str, Any]:
    """A gateway whose every path is cached, by these settings."""
    return {"routes": [{"name": "all", "prefix": "/", "service": "users", "retries": 0, "cache": cache or True}]}


def answer(body: bytes = b"hello", *fields: str, status: str = "200 OK") -> bytes:
    """An answer of an instance."""
    lines = "".join(f"{field}\r\n" for field in fields)
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def counting(*fields: str, status: str = "200 OK") -> Callable[[Peer, Message], None]:
    """Answers with the number of the request on its instance and its target, so that two answers are never equal."""
    numbers = iter(range(1, 1_000_000))

    def reply(peer: Peer, request: Message) -> None:
        peer.send(answer(f"{next(numbers)} {request.target}".encode(), *fields, status=status))

    return reply


def status_of(message: Message) -> str:
    """The gateway's part of Cache-Status."""
    return message.all("cache-status")[-1]


def seconds_left(message: Message) -> int:
    """For how long what came from memory is still fresh, as its Cache-Status says; less than 0 if it is stale."""
    before, _, seconds = status_of(message).rpartition("; ttl=")
    assert before == "pylae; hit"
    return int(seconds)


def ask(running: Running, method: str, target: str = "/", *fields: str, body: bytes = b"") -> Message:
    """One request on a connection of its own."""
    host = () if any(field.lower().startswith("host:") for field in fields) else ("Host: gateway.test",)
    length = (f"Content-Length: {len(body)}",) if body else ()
    lines = "".join(f"{field}\r\n" for field in (*host, *fields, *length))
    data = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body
    return running.raw(data, 1, method=method)[0]


def counts(running: Running) -> dict[str, int]:
    """Outcomes that were counted."""
    found: dict[str, int] = running.gateway.stats()["totals"]["cache"]
    return found


# What is answered from memory


def test_a_second_get_is_answered_from_memory(gateway: Start) -> None:
    with RawInstance(counting("Content-Type: text/plain", "X-Origin: 1")) as users:
        running = gateway(route(), users=users)
        first, second = running.get("/a"), running.get("/a")
        assert (first.body, second.body) == (b"1 /a", b"1 /a")
        assert len(users.requests) == 1
        assert status_of(first) == "pylae; fwd=uri-miss"
        assert seconds_left(second) > 0
        assert (second.one("age") or "").isdigit()
        assert second.one("content-type") == "text/plain"
        assert second.one("x-origin") == "1"
        assert second.one("date")
        assert first.one("x-request-id") != second.one("x-request-id")
        # An exchange is counted when it is over, a moment after the client has its answer.
        wait_until(lambda: counts(running) == {"hit": 1, "stale": 0, "revalidated": 0, "miss": 1, "bypass": 0})
        assert running.gateway.stats()["cache"]["entries"] == 1


def test_textbook_ttl(gateway: Start) -> None:
    with RawInstance(counting()) as users:
        running = gateway(route(ttl=300), users=users)
        running.get("/a")
        second = running.get("/a")
        # However long this test takes, age and time left are those of 300 seconds.
        assert seconds_left(second) + int(second.one("age") or 0) in (299, 300)


def test_a_chunked_answer_is_kept_whole(gateway: Start) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with RawInstance((head, b"3\r\nabc\r\n", b"4\r\ndefg\r\n", b"0\r\nX-T: 1\r\n\r\n")) as users:
        running = gateway(route(), users=users)
        assert running.get().body == b"abcdefg"
        second = running.get()
        assert (second.body, second.one("content-length")) == (b"abcdefg", "7")
        assert len(users.requests) == 1


def test_a_large_answer_is_kept_whole(gateway: Start) -> None:
    body = bytes(range(256)) * 2048
    with RawInstance(answer(body)) as users:
        running = gateway(route(), users=users)
        assert running.get().body == body
        assert running.get().body == body
        assert len(users.requests) == 1


def test_many_requests_on_one_connection(gateway: Start) -> None:
    with RawInstance(counting()) as users:
        running = gateway(route(), users=users)
        answers = running.raw(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 20, 20)
        assert {answer.body for answer in answers} == {b"1 /a"}


def test_security_headers_are_on_hits_too(gateway: Start) -> None:
    with RawInstance(answer(b"x", "X-Frame-Options: SAMEORIGIN")) as users:
        running = gateway({**route(), "policies": {"security_headers": {}}}, users=users)
        for message in (running.get(), running.get()):
            assert message.all("x-content-type-options") == ["nosniff"]
            assert message.all("x-frame-options") == ["SAMEORIGIN"]


def test_head_is_answered_from_a_get(gateway: Start) -> None:
    with RawInstance(answer(b"hello", 'ETag: "1"')) as users:
        running = gateway(route(), users=users)
        running.get()
        head = ask(running, "HEAD")
        assert (head.status, head.one("content-length"), head.one("etag")) == (200, "5", '"1"')
        assert len(users.requests) == 1


def test_ranges_are_served_from_a_complete_entry(gateway: Start) -> None:
    with RawInstance(answer(b"0123456789", 'ETag: "1"')) as users:
        running = gateway(route(), users=users)
        running.get()
        part = running.get("/", "Range: bytes=2-4")
        assert (part.status, part.body, part.one("content-range")) == (206, b"234", "bytes 2-4/10")
        assert running.get("/", "Range: bytes=-3").body == b"789"
        beyond = running.get("/", "Range: bytes=20-")
        assert (beyond.status, beyond.body, beyond.one("content-range")) == (416, b"", "bytes */10")
        whole = running.get("/", "Range: bytes=2-4", 'If-Range: "2"')
        assert (whole.status, whole.body) == (200, b"0123456789")
        assert len(users.requests) == 1


def test_a_range_of_nothing_stored_passes_by(gateway: Start) -> None:
    part = answer(b"234", "Content-Range: bytes 2-4/10", "Cache-Control: max-age=60", status="206 Partial Content")
    with RawInstance(part) as users:
        running = gateway(route(), users=users)
        assert running.get("/", "Range: bytes=2-4").status == 206
        assert users.requests[0].one("range") == "bytes=2-4"
        assert running.get("/", "Range: bytes=0-1").status == 206
        assert len(users.requests) == 2


# Conditions, both ways


def test_a_client_that_has_it_gets_304(gateway: Start) -> None:
    with RawInstance(answer(b"hello", 'ETag: "1"', "Last-Modified: Tue, 01 Jan 2019 00:00:00 GMT")) as users:
        running = gateway(route(), users=users)
        running.get()
        for condition in ('If-None-Match: "0", W/"1"', "If-Modified-Since: Wed, 02 Jan 2019 00:00:00 GMT"):
            message = running.get("/", condition)
            assert (message.status, message.body, message.one("etag")) == (304, b"", '"1"')
        assert running.get("/", 'If-None-Match: "2"').status == 200
        assert len(users.requests) == 1


def test_a_conditional_request_fills_the_cache_and_gets_304(gateway: Start) -> None:
    with RawInstance(answer(b"hello", 'ETag: "1"')) as users:
        running = gateway(route(), users=users)
        assert running.get("/", 'If-None-Match: "1"').status == 304
        assert "if-none-match" not in users.requests[0]
        assert running.get("/").body == b"hello"
        assert len(users.requests) == 1


def test_a_stale_answer_is_validated_and_merged(gateway: Start) -> None:
    first = answer(b"hello", 'ETag: "1"', "Cache-Control: max-age=0", "X-Version: 1", "Content-Type: text/plain")
    second = b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nCache-Control: max-age=60\r\nX-Version: 2\r\n\r\n'
    with RawInstance(first, second) as users:
        running = gateway(route(), users=users)
        running.get()
        validated = running.get()
        assert users.requests[1].one("if-none-match") == '"1"'
        assert (validated.status, validated.body) == (200, b"hello")
        assert (validated.all("x-version"), validated.one("content-type")) == (["2"], "text/plain")
        assert status_of(validated).startswith("pylae; fwd=stale; fwd-status=304")
        assert running.get("/", 'If-None-Match: "1"').status == 304
        assert running.get().body == b"hello"
        assert len(users.requests) == 2
        assert users.connections == 1
        wait_until(lambda: counts(running)["revalidated"] == 1)


def test_a_stale_answer_that_has_changed_is_replaced(gateway: Start) -> None:
    first = answer(b"old", 'ETag: "1"', "Cache-Control: max-age=0")
    second = answer(b"new", 'ETag: "2"', "Cache-Control: max-age=60")
    with RawInstance(first, second) as users:
        running = gateway(route(), users=users)
        assert [running.get().body for _ in range(4)] == [b"old", b"new", b"new", b"new"]
        assert len(users.requests) == 2


def test_no_cache_answers_are_validated_each_time(gateway: Start) -> None:
    first = answer(b"hello", 'ETag: "1"', "Cache-Control: no-cache")
    second = b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'
    with RawInstance(first, second) as users:
        running = gateway(route(), users=users)
        assert [running.get().body for _ in range(3)] == [b"hello"] * 3
        assert [request.one("if-none-match") for request in users.requests] == [None, '"1"', '"1"']


# Staleness


def test_stale_while_revalidate(gateway: Start) -> None:
    first = answer(b"old", "Cache-Control: max-age=0, stale-while-revalidate=60")
    second = answer(b"new", "Cache-Control: max-age=60")
    with RawInstance(first, second) as users:
        running = gateway(route(), users=users)
        assert running.get().body == b"old"
        stale = running.get()
        assert (stale.body, seconds_left(stale) <= 0) == (b"old", True)
        wait_until(lambda: running.get().body == b"new")
        assert len(users.requests) == 2
        assert users.requests[1].target == "/"


def test_stale_while_revalidate_with_a_validator(gateway: Start) -> None:
    first = answer(b"old", 'ETag: "1"', "Cache-Control: max-age=0, stale-while-revalidate=60")
    second = b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nCache-Control: max-age=60\r\n\r\n'
    with RawInstance(first, second) as users:
        running = gateway(route(), users=users)
        running.get()
        assert running.get().body == b"old"
        wait_until(lambda: seconds_left(running.get()) > 0)
        assert users.requests[1].one("if-none-match") == '"1"'
        assert len(users.requests) == 2


@pytest.mark.parametrize("failure", [answer(b"no", status="503 Service Unavailable"), b"HTTP/1.1 2"])
def test_stale_if_error(gateway: Start, failure: bytes) -> None:
    def fail(peer: Peer, _: Message) -> None:
        peer.send(failure)
        peer.end()

    with RawInstance(answer(b"old", "Cache-Control: max-age=0, stale-if-error=60"), fail) as users:
        running = gateway(route(), users=users)
        running.get()
        stale = running.get()
        assert (stale.status, stale.body) == (200, b"old")
        wait_until(lambda: counts(running)["stale"] == 1)


def test_must_revalidate_forbids_stale_answers(gateway: Start) -> None:
    first = answer(b"old", "Cache-Control: max-age=0, must-revalidate, stale-if-error=60", 'ETag: "1"')
    with RawInstance(first, answer(b"no", status="503 Service Unavailable")) as users:
        running = gateway(route(), users=users)
        running.get()
        assert running.get().status == 503


# Statuses

STATED = [
    ("204 No Content", b""),
    ("299 Whatever", b"x"),
    ("400 Bad Request", b"x"),
    ("404 Not Found", b"x"),
    ("405 Method Not Allowed", b"x"),
    ("410 Gone", b"x"),
    ("499 Whatever", b"x"),
    ("500 Internal Server Error", b"x"),
    ("502 Bad Gateway", b"x"),
    ("503 Service Unavailable", b"x"),
    ("504 Gateway Timeout", b"x"),
    ("599 Whatever", b"x"),
]
"""Statuses that are kept where the service says for how long."""


def told(status: str, body: bytes, *fields: str) -> bytes:
    """An answer with this status; 204 has no body and no length."""
    if status.startswith("204"):
        return "\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""]).encode()
    return answer(body, *fields, status=status)


def disconnect(peer: Peer, _: Message) -> None:
    """The service fails."""
    peer.end()


@pytest.mark.parametrize(("status", "body"), STATED)
def test_statuses_whose_freshness_is_stated_are_kept(gateway: Start, status: str, body: bytes) -> None:
    with RawInstance(told(status, body, "Cache-Control: max-age=60", "X-Kept: 1")) as users:
        running = gateway(route(), users=users)
        for _ in range(3):
            message = running.get()
            assert (message.status, message.body, message.one("x-kept")) == (int(status[:3]), body, "1")
        assert seconds_left(message) > 0
        assert len(users.requests) == 1


@pytest.mark.parametrize(("status", "body"), STATED)
def test_stale_statuses_are_validated(gateway: Start, status: str, body: bytes) -> None:
    fresh = b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nCache-Control: max-age=60\r\n\r\n'
    with RawInstance(told(status, body, "Cache-Control: max-age=0", 'ETag: "1"'), fresh) as users:
        running = gateway(route(), users=users)
        for _ in range(3):
            message = running.get()
            assert (message.status, message.body) == (int(status[:3]), body)
        assert [request.one("if-none-match") for request in users.requests] == [None, '"1"']


@pytest.mark.parametrize("failure", [disconnect, answer(b"no", status="503 Service Unavailable")])
@pytest.mark.parametrize(("status", "body"), STATED)
def test_stale_statuses_are_given_when_the_service_fails(
    gateway: Start, status: str, body: bytes, failure: Any
) -> None:
    first = told(status, body, "Cache-Control: max-age=0, stale-if-error=60", "X-Kept: 1")
    with RawInstance(first, failure) as users:
        running = gateway(route(), users=users)
        running.get()
        message = running.get()
        assert (message.status, message.body, message.one("x-kept")) == (int(status[:3]), body, "1")


def test_an_answer_that_the_gateway_made_is_not_kept(gateway: Start) -> None:
    with RawInstance(disconnect, answer(b"back")) as users:
        running = gateway(route(stale_if_error="1m"), users=users)
        assert running.get().status == 502
        assert running.get().body == b"back"


def test_a_failure_of_the_service_neither_replaces_nor_hides_what_is_good(gateway: Start) -> None:
    def reply(peer: Peer, request: Message) -> None:
        if request.one("x-lang") == "de" and "if-none-match" not in request:
            peer.send(answer(b"gut", "Vary: X-Lang", 'ETag: "1"', "Cache-Control: max-age=60"))
        else:
            # It does not say that it depends on anything.
            peer.send(answer(b"broken", "Cache-Control: max-age=60", status="500 Internal Server Error"))

    with RawInstance(reply) as users:
        running = gateway(route(), users=users)
        assert running.get("/", "X-Lang: de").body == b"gut"
        assert [running.get("/", "X-Lang: en").body for _ in range(2)] == [b"broken", b"broken"]
        assert len(users.requests) == 2
        # What is fresh and good is still given, also after somebody wanted it newer.
        assert running.get("/", "X-Lang: de").body == b"gut"
        assert running.get("/", "X-Lang: de", "Cache-Control: no-cache").body == b"broken"
        assert running.get("/", "X-Lang: de").body == b"gut"


def test_a_success_takes_the_place_of_a_failure(gateway: Start) -> None:
    broken = answer(b"broken", "Cache-Control: max-age=0", 'ETag: "1"', status="503 Service Unavailable")
    with RawInstance(broken, answer(b"back", "Cache-Control: max-age=60")) as users:
        running = gateway(route(stale_if_error="1m"), users=users)
        assert [running.get().body for _ in range(3)] == [b"broken", b"back", b"back"]


@pytest.mark.parametrize(("status", "kept"), [("404 Not Found", True), ("410 Gone", True), ("400 Bad Request", False)])
def test_error_ttl(gateway: Start, status: str, kept: bool) -> None:
    with RawInstance(counting(status=status)) as users:
        running = gateway(route(error_ttl="1m"), users=users)
        running.get()
        assert running.get().body == (b"1 /" if kept else b"2 /")


def test_a_range_field_without_a_range_is_a_field_like_others(gateway: Start) -> None:
    with RawInstance(answer(b"0123456789", "Content-Range: odd", "Cache-Control: max-age=60")) as users:
        running = gateway(route(), users=users)
        running.get()
        assert running.get().one("content-range") == "odd"
        assert running.get("/", "Range: bytes=0-1").all("content-range") == ["bytes 0-1/10"]
        assert len(users.requests) == 1


# Partial answers


def parts(text: bytes, *fields: str) -> Callable[[Peer, Message], None]:
    """Answers with the range of `text` that is asked for, or with all of it."""

    def reply(peer: Peer, request: Message) -> None:
        asked = request.one("range")
        if not asked:
            return peer.send(answer(text, *fields))
        first, last = asked.removeprefix("bytes=").split("-")
        start = int(first) if first else len(text) - int(last)
        end = min(int(last), len(text) - 1) if first and last else len(text) - 1
        stated = f"Content-Range: bytes {start}-{end}/{len(text)}"
        return peer.send(answer(text[start : end + 1], stated, *fields, status="206 Partial Content"))

    return reply


def test_a_part_is_kept_and_answers_requests_for_it_and_for_less(gateway: Start) -> None:
    with RawInstance(parts(b"0123456789", "Cache-Control: max-age=60", "Content-Type: a/b")) as users:
        running = gateway(route(), users=users)
        assert status_of(running.get("/", "Range: bytes=4-8")) == "pylae; fwd=uri-miss"
        for asked, body in (("4-8", b"45678"), ("5-6", b"56"), ("8-8", b"8")):
            part = running.get("/", f"Range: bytes={asked}")
            assert (part.status, part.body, part.one("content-type")) == (206, body, "a/b")
            assert part.all("content-range") == [f"bytes {asked}/10"]
            assert seconds_left(part) > 0
        assert len(users.requests) == 1
        # More than is held is asked of the service, as it is, and so is the whole.
        assert status_of(running.get("/", "Range: bytes=4-9")) == "pylae; fwd=partial"
        assert running.get("/", "Range: bytes=-7").body == b"3456789"
        assert [request.one("range") for request in users.requests[1:]] == ["bytes=4-9", "bytes=-7"]
        assert (running.get().status, running.get().body) == (200, b"0123456789")
        assert len(users.requests) == 4


def test_parts_of_one_representation_are_combined(gateway: Start) -> None:
    with RawInstance(parts(b"0123456789", "Cache-Control: max-age=60", 'ETag: "1"')) as users:
        running = gateway(route(), users=users)
        running.get("/", "Range: bytes=0-3")
        running.get("/", "Range: bytes=6-9")
        assert running.get("/", "Range: bytes=2-5").body == b"2345"
        # Now all of it is there.
        whole = running.get()
        assert (whole.status, whole.body, whole.one("content-length")) == (200, b"0123456789", "10")
        assert "content-range" not in whole
        assert running.get("/", "Range: bytes=1-8").body == b"12345678"
        assert running.get("/", 'If-None-Match: "1"').status == 304
        assert ask(running, "HEAD").one("content-length") == "10"
        assert len(users.requests) == 3


@pytest.mark.parametrize("tags", [('"1"', '"2"'), ('W/"1"', 'W/"1"'), (None, None)], ids=["other", "weak", "none"])
def test_parts_that_may_be_of_different_representations_are_not_combined(
    gateway: Start, tags: tuple[str | None, str | None]
) -> None:
    fields = [("Cache-Control: max-age=60", *([f"ETag: {tag}"] if tag else [])) for tag in tags]
    halves = [parts(text, *stated) for text, stated in zip((b"0123456789", b"abcdefghij"), fields, strict=True)]
    with RawInstance(*halves) as users:
        running = gateway(route(), users=users)
        assert running.get("/", "Range: bytes=0-4").body == b"01234"
        assert running.get("/", "Range: bytes=5-9").body == b"fghij"
        assert running.get("/", "Range: bytes=3-6").body == b"defg"
        assert running.get().body == b"abcdefghij"


def test_a_part_that_is_not_what_it_says_answers_only_the_same_request(gateway: Start) -> None:
    odd = answer(b"01234", "Content-Range: bytes 4-9/10", "Cache-Control: max-age=60", status="206 Partial Content")
    with RawInstance(odd, answer(b"whole")) as users:
        running = gateway(route(), users=users)
        for _ in range(2):
            part = running.get("/", "Range: bytes=-5")
            assert (part.status, part.body, part.one("content-range")) == (206, b"01234", "bytes 4-9/10")
        assert len(users.requests) == 1
        assert running.get("/", "Range: bytes=5-6").body == b"whole"


def test_a_part_that_breaks_off_is_not_kept(gateway: Start) -> None:
    def broken(peer: Peer, _: Message) -> None:
        stated = "Content-Range: bytes 0-9/20\r\nCache-Control: max-age=60\r\nContent-Length: 10"
        peer.send(f"HTTP/1.1 206 Partial Content\r\n{stated}\r\n\r\n01234".encode())
        peer.end()

    with RawInstance(broken, parts(b"a" * 20, "Cache-Control: max-age=60")) as users:
        running = gateway(route(), users=users)
        with running.connect() as client, suppress(AssertionError, OSError):
            client.send(b"GET / HTTP/1.1\r\nHost: gateway.test\r\nRange: bytes=0-9\r\n\r\n")
            client.read_answer()
        assert running.get("/", "Range: bytes=0-4").body == b"aaaaa"


# What clients ask for


def test_no_cache_asks_the_service(gateway: Start) -> None:
    with RawInstance(counting()) as users:
        running = gateway(route(), users=users)
        running.get()
        assert running.get("/", "Cache-Control: no-cache").body == b"2 /"
        assert running.get("/").body == b"2 /"
        assert running.get("/", "Cache-Control: max-age=0").body == b"3 /"


def test_clients_cannot_ask_for_fresh_answers_if_told_so(gateway: Start) -> None:
    with RawInstance(counting()) as users:
        running = gateway(route(client_directives=False), users=users)
        running.get()
        assert running.get("/", "Cache-Control: no-cache, no-store, max-age=0").body == b"1 /"


def test_no_store_is_not_kept(gateway: Start) -> None:
    with RawInstance(counting()) as users:
        running = gateway(route(), users=users)
        running.get("/", "Cache-Control: no-store")
        assert running.get().body == b"2 /"


def test_only_if_cached(gateway: Start) -> None:
    with RawInstance(counting()) as users:
        running = gateway(route(), users=users)
        assert running.get("/", "Cache-Control: only-if-cached").status == 504
        assert not users.requests
        running.get()
        assert running.get("/", "Cache-Control: only-if-cached").body == b"1 /"


# One request for many


def test_a_thousand_clients_of_one_cold_key_are_one_request(gateway: Start) -> None:
    release = threading.Event()

    def slow(peer: Peer, _: Message) -> None:
        release.wait(30)
        peer.send(answer(b"hello"))

    clients = 1000
    with RawInstance(slow) as users, ExitStack() as stack:
        running = gateway({"workers": 2, **route(wait="30s")}, users=users)
        peers = [stack.enter_context(running.connect()) for _ in range(clients)]
        for peer in peers:
            peer.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: running.gateway.stats()["totals"]["in_flight"] == clients)
        release.set()
        assert {peer.read_answer().body for peer in peers} == {b"hello"}
        assert len(users.requests) == 1


def test_the_first_client_leaving_does_not_fail_the_others(gateway: Start) -> None:
    release = threading.Event()

    def slow(peer: Peer, _: Message) -> None:
        release.wait(30)
        peer.send(answer(b"hello"))

    with RawInstance(slow) as users, ExitStack() as stack:
        running = gateway({"workers": 2, **route(wait="30s")}, users=users)
        first = running.connect()
        first.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: len(users.requests) == 1)
        peers = [stack.enter_context(running.connect()) for _ in range(50)]
        for peer in peers:
            peer.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: running.gateway.stats()["totals"]["in_flight"] == 51)
        first.close()
        # Exactly one of the others takes over.
        wait_until(lambda: len(users.requests) == 2)
        release.set()
        assert {peer.read_answer().body for peer in peers} == {b"hello"}
        assert len(users.requests) == 2


def test_the_first_client_leaving_in_the_middle_of_the_body(gateway: Start) -> None:
    release = threading.Event()
    body = b"x" * 500_000

    def half(peer: Peer, _: Message) -> None:
        peer.send(answer(body)[:1000])
        release.wait(30)
        peer.send(answer(body)[1000:])

    with RawInstance(half) as users, running_peers() as connect:
        running = gateway(route(wait="30s"), users=users)
        first, second = connect(running), connect(running)
        first.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        first.read_head()
        second.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: running.gateway.stats()["totals"]["in_flight"] == 2)
        first.reset()
        wait_until(lambda: len(users.requests) == 2)
        release.set()
        assert second.read_answer().body == body


def test_those_who_wait_for_an_answer_that_cannot_be_kept_ask_at_once(gateway: Start) -> None:
    arrived, release = threading.Barrier(4), threading.Event()

    def private(peer: Peer, request: Message) -> None:
        if request is users.requests[0]:
            release.wait(30)
        else:
            # All of those who waited are here at the same time.
            arrived.wait(30)
        peer.send(answer(request.one("x-client").encode(), "Cache-Control: private"))  # type: ignore[union-attr]

    with RawInstance(private) as users, running_peers() as connect:
        running = gateway(route(wait="30s"), users=users)
        peers = [connect(running) for _ in range(5)]
        for number, peer in enumerate(peers):
            peer.send(f"GET /a HTTP/1.1\r\nHost: x\r\nX-Client: {number}\r\n\r\n".encode())
            wait_until(lambda: len(users.requests) == 1)
        wait_until(lambda: running.gateway.stats()["totals"]["in_flight"] == 5)
        release.set()
        assert [peer.read_answer().body for peer in peers] == [b"0", b"1", b"2", b"3", b"4"]


def running_peers() -> Any:
    """Connections that are closed at the end."""

    class Peers(ExitStack):
        def __call__(self, running: Running) -> Peer:
            return self.enter_context(running.connect())

    return Peers()


# What must not be kept


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (("Cache-Control: no-store",), "200 OK"),
        (("Cache-Control: private",), "200 OK"),
        (('Cache-Control: max-age=60, private="x"',), "200 OK"),
        (("Set-Cookie: session=1", "Cache-Control: max-age=60"), "200 OK"),
        (("Vary: *",), "200 OK"),
        (("Vary: X-Forwarded-For",), "200 OK"),
        (("Cache-Control: max-age=0",), "200 OK"),
        (("Expires: 0",), "200 OK"),
        (("Cache-Control: max-age=60", "Content-Range: bytes 0-3/10"), "206 Partial Content"),
        ((), "302 Found"),
        ((), "299 Whatever"),
        ((), "400 Bad Request"),
        ((), "404 Not Found"),
        ((), "410 Gone"),
        ((), "499 Whatever"),
        ((), "500 Internal Server Error"),
        ((), "502 Bad Gateway"),
        ((), "503 Service Unavailable"),
        ((), "504 Gateway Timeout"),
        ((), "599 Whatever"),
        (("Cache-Control: public, max-age=60",), "401 Unauthorized"),
        (("Cache-Control: public, max-age=60",), "403 Forbidden"),
        (("Cache-Control: public, max-age=60",), "407 Proxy Authentication Required"),
        (("Cache-Control: public, max-age=60",), "412 Precondition Failed"),
        (("Cache-Control: public, max-age=60",), "416 Range Not Satisfiable"),
        (("Cache-Control: public, max-age=60",), "429 Too Many Requests"),
        (("Cache-Control: public, max-age=60",), "431 Request Header Fields Too Large"),
    ],
)
def test_what_is_never_kept(gateway: Start, fields: tuple[str, ...], status: str) -> None:
    with RawInstance(counting(*fields, status=status)) as users:
        running = gateway(route(), users=users)
        assert (running.get().body, running.get().body) == (b"1 /", b"2 /")
        assert running.gateway.stats()["cache"]["entries"] == 0


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\nhalf",
    ],
    ids=["length", "chunked", "malformed", "up to the end of the connection"],
)
def test_an_answer_that_breaks_off_is_never_kept(gateway: Start, broken: bytes) -> None:
    def die(peer: Peer, _: Message) -> None:
        peer.send(broken)
        peer.end()

    with RawInstance(die, answer(b"whole")) as users:
        running = gateway(route(), users=users)
        with running.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
            # It is cut off, or ends like one that is complete.
            with suppress(AssertionError, OSError):
                client.read_answer()
        assert running.get().body == b"whole"


def test_an_entry_that_grows_too_large_is_not_kept(gateway: Start) -> None:
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    big = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 20 + b"0\r\n\r\n"
    with RawInstance(big) as users:
        running = gateway(route(max_entry="64KB"), users=users)
        assert [len(running.get().body) for _ in range(2)] == [81920, 81920]
        assert len(users.requests) == 2


def test_answers_that_set_cookies_are_kept_without_them_if_told_so(gateway: Start) -> None:
    with RawInstance(answer(b"x", "Set-Cookie: session=1", "X-Other: 1", "Cache-Control: max-age=60")) as users:
        running = gateway(route(set_cookie="strip"), users=users)
        assert running.get().all("set-cookie") == ["session=1"]
        second = running.get()
        assert (second.all("set-cookie"), second.all("x-other")) == ([], ["1"])
        assert len(users.requests) == 1


def test_proxy_fields_of_one_client_are_not_kept(gateway: Start) -> None:
    with RawInstance(answer(b"x", "Proxy-Authentication-Info: nextnonce=1", "Cache-Control: max-age=60")) as users:
        running = gateway(route(), users=users)
        running.get()
        assert "proxy-authentication-info" not in running.get()
        assert len(users.requests) == 1


def test_an_answer_to_post_that_is_the_one_to_get_is_kept(gateway: Start) -> None:
    made = answer(b"made", "Content-Location: /a?x=1", "Cache-Control: max-age=60")
    with RawInstance(made, answer(b"asked")) as users:
        running = gateway(route(), users=users)
        posted = ask(running, "POST", "/a?x=1", body=b"new")
        assert (posted.body, status_of(posted)) == (b"made", "pylae; fwd=method")
        assert running.get("/a?x=1").body == b"made"
        assert ask(running, "HEAD", "/a?x=1").one("content-length") == "4"
        assert len(users.requests) == 1
        assert running.get("/a").body == b"asked"
        # It does not answer the next POST, which makes it invalid.
        assert ask(running, "POST", "/a?x=1", body=b"new").body == b"asked"
        assert running.get("/a?x=1").body == b"asked"
        assert len(users.requests) == 4


def test_an_answer_to_post_from_before_another_change_is_not_kept(gateway: Start) -> None:
    release = threading.Event()

    def slow(peer: Peer, _: Message) -> None:
        release.wait(30)
        peer.send(answer(b"before", "Content-Location: /a", "Cache-Control: max-age=60"))

    with RawInstance(slow, answer(b"changed"), answer(b"after")) as users, running_peers() as connect:
        running = gateway(route(), users=users)
        writer = connect(running)
        writer.send(b"POST /a HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 1\r\n\r\nx")
        wait_until(lambda: len(users.requests) == 1)
        assert ask(running, "PUT", "/a", body=b"x").status == 200
        release.set()
        assert writer.read_answer().body == b"before"
        assert running.get("/a").body == b"after"


def test_answers_of_unsafe_methods_are_not_kept(gateway: Start) -> None:
    with RawInstance(counting("Cache-Control: max-age=60")) as users:
        running = gateway(route(), users=users)
        ask(running, "POST", "/", body=b"a")
        assert running.get().body == b"2 /"


# Poisoning and deception


def test_a_get_with_a_body_neither_fills_nor_uses_the_cache(gateway: Start) -> None:
    with RawInstance(counting()) as users:
        running = gateway(route(), users=users)
        assert ask(running, "GET", "/", body=b"evil").body == b"1 /"
        assert running.get().body == b"2 /"
        assert ask(running, "GET", "/", body=b"evil").body == b"3 /"
        assert running.get().body == b"2 /"


@pytest.mark.parametrize(
    "field",
    [
        "X-Original-URL: /admin",
        "X-Rewrite-URL: /admin",
        "X-HTTP-Method-Override: DELETE",
        "X_HTTP_Method_Override: DELETE",
        "X-Forwarded-Scheme: nothttps",
        "X-Host: evil.test",
    ],
)
def test_requests_with_fields_that_change_answers_fill_nothing(gateway: Start, field: str) -> None:
    with RawInstance(counting()) as users:
        running = gateway(route(), users=users)
        assert running.get("/", field).body == b"1 /"
        assert running.get().body == b"2 /"


def test_forwarded_host_of_strangers_never_reaches_the_service(gateway: Start) -> None:
    def reflect(peer: Peer, request: Message) -> None:
        peer.send(answer(f"{request.one('x-forwarded-host')} {request.one('x-forwarded-proto')}".encode()))

    with RawInstance(reflect) as users:
        running = gateway(route(), users=users)
        assert running.get("/", "X-Forwarded-Host: evil.test", "X-Forwarded-Proto: evil").body == b"gateway.test http"
        assert running.get().body == b"gateway.test http"


def test_a_prefix_that_strangers_make_up_never_reaches_the_service(gateway: Start) -> None:
    def reflect(peer: Peer, request: Message) -> None:
        peer.send(answer(str(request.one("x-forwarded-prefix")).encode(), "Vary: X-Forwarded-Prefix"))

    with RawInstance(reflect) as users:
        running = gateway({"routes": [{**route()["routes"][0], "strip_prefix": "/a"}]}, users=users)
        for target, told in (("/a/x", b"/a"), ("/x", b"None")):
            assert running.get(target, "X-Forwarded-Prefix: /evil").body == told
            assert status_of(running.get(target)).startswith("pylae; hit")


def test_what_a_trusted_proxy_says_is_part_of_the_key(gateway: Start) -> None:
    def reflect(peer: Peer, request: Message) -> None:
        peer.send(answer(f"{request.one('x-forwarded-host')} {request.one('x-forwarded-proto')}".encode()))

    with RawInstance(reflect) as users:
        running = gateway({**route(), "trusted_proxies": ["127.0.0.1"]}, users=users)
        assert running.get("/", "X-Forwarded-Host: a.test", "X-Forwarded-Proto: https").body == b"a.test https"
        assert running.get("/", "X-Forwarded-Host: b.test", "X-Forwarded-Proto: https").body == b"b.test https"
        assert running.get("/", "X-Forwarded-Host: a.test", "X-Forwarded-Proto: http").body == b"a.test http"
        assert len(users.requests) == 3
        running.get("/", "X-Forwarded-Host: a.test", "X-Forwarded-Proto: https")
        assert len(users.requests) == 3


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("/", "Host: a.test"), ("/", "Host: b.test"), False),
        (("/", "Host: a.test"), ("/", "Host: A.TEST"), True),
        (("/", "Host: a.test"), ("/", "Host: a.test:81"), False),
        (("/", "Host: a.test"), ("http://a.test/", "Host: b.test"), True),
        (("/a",), ("/b/../a",), True),
        (("/a",), ("/%61",), True),
        (("/a",), ("//a",), True),
        (("/a",), ("/a/",), False),
        (("/a",), ("/A",), False),
        (("/a",), ("/a?",), False),
        (("/a",), ("/a;x=/a.css",), False),
        (("/a/x.css",), ("/a%3Bx.css",), False),
        (("/?a=1&b=2",), ("/?b=2&a=1",), False),
        (("/?a=1",), ("/?a=1&utm=2",), False),
        (("/?a=1",), ("/?a=%31",), False),
        (("/ab?c",), ("/a?bc",), False),
    ],
)
def test_what_is_one_key(gateway: Start, one: tuple[str, ...], other: tuple[str, ...], same: bool) -> None:
    with RawInstance(counting()) as users:
        running = gateway(route(), users=users)
        assert (ask(running, "GET", *one).body == ask(running, "GET", *other).body) is same


def test_vary_keeps_answers_apart(gateway: Start) -> None:
    def reply(peer: Peer, request: Message) -> None:
        peer.send(answer((request.one("accept-language") or "none").encode(), "Vary: Accept-Language"))

    with RawInstance(reply) as users:
        running = gateway(route(), users=users)
        for _ in range(2):
            assert running.get("/", "Accept-Language: de,  fr").body == b"de,  fr"
            assert running.get("/", "Accept-Language: en").body == b"en"
            assert running.get("/").body == b"none"
        assert running.get("/", "Accept-Language:de,fr").body == b"de,  fr"
        assert len(users.requests) == 3


def test_languages_are_compared_in_any_order_if_told_so(gateway: Start) -> None:
    for normalize, same in ((["Accept-Language"], True), ([], False)):
        with RawInstance(counting("Vary: Accept-Language")) as users:
            running = gateway(route(normalize=normalize), users=users)
            assert running.get("/", "Accept-Language: de, en;q=0.8, fr;q=0.8").body == b"1 /"
            other = running.get("/", "Accept-Language: FR ; q=0.80,de;q=1, en; Q=0.8")
            assert (other.body == b"1 /") is same
            # The service gets what the client said.
            assert running.get("/", "Accept-Language: EN, de").body.endswith(b" /")
            assert users.requests[-1].one("accept-language") == "EN, de"


def test_languages_have_no_case(gateway: Start) -> None:
    with RawInstance(counting("Vary: Accept-Language, X-Case")) as users:
        running = gateway(route(), users=users)
        assert running.get("/", "Accept-Language: de-AT", "X-Case: a").body == b"1 /"
        assert running.get("/", "Accept-Language: DE-at", "X-Case: a").body == b"1 /"
        assert running.get("/", "Accept-Language: DE-at", "X-Case: A").body == b"2 /"


def test_configured_fields_keep_answers_apart(gateway: Start) -> None:
    with RawInstance(counting()) as users:
        running = gateway(route(vary=["X-Tenant"]), users=users)
        assert running.get("/", "X-Tenant: a").body == b"1 /"
        assert running.get("/", "x-tenant: b").body == b"2 /"
        assert running.get("/").body == b"3 /"
        assert running.get("/", "X-Tenant: a").body == b"1 /"


def test_answers_of_another_route_for_the_same_address_are_kept_apart(gateway: Start) -> None:
    routes = [
        {"name": "old", "prefix": "/", "service": "old", "cache": True},
        {"name": "new", "prefix": "/", "headers": {"X-New": True}, "service": "new", "cache": True},
    ]
    with RawInstance(answer(b"old")) as old, RawInstance(answer(b"new")) as new:
        running = gateway({"routes": routes}, old=old, new=new)
        for _ in range(2):
            assert running.get("/", "X-New: 1").body == b"new"
            assert running.get("/").body == b"old"


def test_answers_to_authorised_requests_are_for_their_sender(gateway: Start) -> None:
    with RawInstance(counting()) as users:
        running = gateway(route(), users=users)
        assert running.get("/", "Authorization: Bearer a").body == b"1 /"
        assert running.get("/", "Authorization: Bearer b").body == b"2 /"
        assert running.get("/").body == b"3 /"


@pytest.mark.parametrize("allowed", ["public", "s-maxage=60", "max-age=60, must-revalidate"])
def test_answers_to_authorised_requests_that_the_service_gives_to_all(gateway: Start, allowed: str) -> None:
    with RawInstance(counting(f"Cache-Control: {allowed}")) as users:
        running = gateway(route(), users=users)
        running.get("/", "Authorization: Bearer a")
        assert running.get("/", "Authorization: Bearer b").body == b"1 /"


def test_users_have_answers_of_their_own(gateway: Start) -> None:
    routes = [{"name": "me", "prefix": "/", "service": "users", "cache": True}]
    with RawInstance(counting()) as users:
        running = gateway({"auth": {"jwt": {"secret": SECRET}}, "routes": routes}, users=users)
        ann, bob = token(user_id="ann", role="user"), token(user_id="bob", role="user")
        for _ in range(2):
            assert running.get("/", bearer(ann)).body == b"1 /"
            assert running.get("/", bearer(bob)).body == b"2 /"
        # The cache stands behind authentication.
        assert running.get("/").status == 401
        assert len(users.requests) == 2


def test_users_share_what_is_theirs_together(gateway: Start) -> None:
    routes = [{"name": "all", "prefix": "/", "service": "users", "cache": {"per_user": False}}]
    for control, shared in (("max-age=60", False), ("public, max-age=60", True)):
        with RawInstance(counting(f"Cache-Control: {control}")) as users:
            running = gateway({"auth": {"jwt": {"secret": SECRET}}, "routes": routes}, users=users)
            running.get("/", bearer(token(user_id="ann")))
            assert (running.get("/", bearer(token(user_id="bob"))).body == b"1 /") is shared


def test_users_who_share_are_told_apart_by_the_identity_that_is_forwarded(gateway: Start) -> None:
    def reply(peer: Peer, request: Message) -> None:
        peer.send(answer((request.one("x-user-id") or "").encode(), "Vary: X-User-ID", "Cache-Control: public"))

    routes = [{"name": "all", "prefix": "/", "service": "users", "cache": {"per_user": False}}]
    with RawInstance(reply) as users:
        running = gateway({"auth": {"jwt": {"secret": SECRET}}, "routes": routes}, users=users)
        ann, bob = bearer(token(user_id="ann")), bearer(token(user_id="bob"))
        for _ in range(2):
            assert running.get("/", ann).body == b"ann"
            assert running.get("/", bob).body == b"bob"
            assert running.get("/", bob, "X-User-ID: ann").body == b"bob"
            assert running.get("/", ann, "X_User_Id: bob").body == b"ann"
        assert len(users.requests) == 2


def test_users_share_by_role_if_the_route_says_so(gateway: Start) -> None:
    cache = {"per_user": False, "vary": ["X-User-Role"]}
    routes = [{"name": "all", "prefix": "/", "service": "users", "cache": cache}]
    with RawInstance(counting("Cache-Control: public")) as users:
        running = gateway({"auth": {"jwt": {"secret": SECRET}}, "routes": routes}, users=users)
        clerk, guest = bearer(token(user_id="ann", role="clerk")), bearer(token(user_id="bob", role="guest"))
        assert running.get("/", clerk).body == b"1 /"
        assert running.get("/", guest, "X-User-Role: clerk").body == b"2 /"
        assert running.get("/", bearer(token(user_id="cyd", role="clerk")), "X-User-Role: guest").body == b"1 /"


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-request-id", "Traceparent", "X-Real-IP", "*"])
def test_fields_that_the_gateway_writes_anew_are_no_key(gateway: Start, name: str) -> None:
    with RawInstance() as users, pytest.raises(ConfigError, match=r"vary"):
        gateway(route(vary=[name]), users=users)


def test_a_fetch_behind_the_clients_back_carries_no_credential(gateway: Start) -> None:
    keys = {name: hashlib.sha256(f"key-of-{name}".encode()).hexdigest() for name in ("ann", "bob")}
    consumers = {name: {"keys": [key]} for name, key in keys.items()}
    auth = {"api_key": {"query": "api_key", "header": "X-API-Key", "consumers": consumers}}
    routes = [{"name": "all", "prefix": "/", "service": "users", "cache": True}]
    with RawInstance(counting("Cache-Control: max-age=0, stale-while-revalidate=60")) as users:
        running = gateway({"auth": auth, "routes": routes}, users=users)
        for target, fields in (("/a?x=1&api_key=key-of-ann&y=2", ()), ("/a", ("X-API-Key: key-of-bob",))):
            asked = len(users.requests)
            first, second = running.get(target, *fields), running.get(target, *fields)
            assert first.body == second.body
            wait_until(lambda asked=asked: len(users.requests) == asked + 2)  # type: ignore[misc]
        assert {request.target for request in users.requests} == {"/a?x=1&y=2", "/a"}
        assert b"key-of-" not in users.received


def test_answers_to_requests_with_cookies(gateway: Start) -> None:
    for fields in ((), ("Cache-Control: max-age=60",)):
        with RawInstance(counting(*fields)) as users:
            running = gateway(route(), users=users)
            assert running.get("/", "Cookie: session=1").body == b"1 /"
            assert running.get("/").body == b"2 /"
            # What is for all is for those with cookies too.
            assert running.get("/", "Cookie: session=1").body == b"2 /"
    with RawInstance(counting("Cache-Control: max-age=60, public")) as users:
        running = gateway(route(), users=users)
        assert running.get("/", "Cookie: session=1").body == b"1 /"
        assert running.get("/").body == b"1 /"
    with RawInstance(counting()) as users:
        running = gateway(route(ignore_cookies=True), users=users)
        assert running.get("/", "Cookie: session=1").body == b"1 /"
        assert running.get("/").body == b"1 /"


# What makes it forget


def test_an_unsafe_method_makes_what_is_kept_invalid(gateway: Start) -> None:
    routes = [
        {"name": "read", "prefix": "/", "method": "GET", "service": "users", "cache": True},
        {"name": "write", "prefix": "/", "method": "POST|DELETE", "service": "users"},
    ]
    with RawInstance(counting()) as users:
        running = gateway({"routes": routes}, users=users)
        assert [running.get(target).body for target in ("/a", "/a?x", "/b")] == [b"1 /a", b"2 /a?x", b"3 /b"]
        ask(running, "POST", "/a", body=b"x")
        assert [running.get(target).body for target in ("/a", "/a?x", "/b")] == [b"5 /a", b"6 /a?x", b"3 /b"]
        ask(running, "DELETE", "/b")
        assert running.get("/b").body == b"8 /b"


def test_a_failed_unsafe_method_changes_nothing(gateway: Start) -> None:
    with RawInstance(answer(b"kept"), answer(b"no", status="403 Forbidden"), answer(b"new")) as users:
        running = gateway(route(), users=users)
        running.get("/a")
        assert ask(running, "POST", "/a").status == 403
        assert running.get("/a").body == b"kept"


def test_an_answer_under_way_during_a_change_is_not_kept(gateway: Start) -> None:
    release = threading.Event()

    def slow(peer: Peer, _: Message) -> None:
        release.wait(30)
        peer.send(answer(b"before"))

    with RawInstance(slow, answer(b"changed"), answer(b"after")) as users, running_peers() as connect:
        running = gateway(route(), users=users)
        reader = connect(running)
        reader.send(b"GET /a HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        wait_until(lambda: len(users.requests) == 1)
        assert ask(running, "PUT", "/a", body=b"x").status == 200
        release.set()
        assert reader.read_answer().body == b"before"
        assert running.get("/a").body == b"after"


@pytest.mark.parametrize(
    ("purge", "left"),
    [
        ({}, set()),
        ({"url": "/a/1"}, {"/a/1?x=1", "/b"}),
        ({"url": "http://gateway.test/a/1?x=1"}, {"/a/1", "/b"}),
        ({"url": "http://other.test/a/1"}, {"/a/1", "/a/1?x=1", "/b"}),
        ({"prefix": "/a/"}, {"/b"}),
        ({"prefix": "http://GATEWAY.test/a"}, {"/b"}),
        ({"service": "users"}, set()),
        ({"service": "others"}, {"/a/1", "/a/1?x=1", "/b"}),
        ({"tag": "of-route"}, set()),
        ({"tag": "said-/b"}, {"/a/1", "/a/1?x=1"}),
    ],
)
def test_purge(gateway: Start, purge: dict[str, str], left: set[str]) -> None:
    def reply(peer: Peer, request: Message) -> None:
        peer.send(answer(b"x", f"Cache-Tag: one, said-{request.target}"))

    with RawInstance(reply) as users:
        running = gateway(route(tags=["of-route"]), users=users)
        targets = {"/a/1", "/a/1?x=1", "/b"}
        for target in sorted(targets):
            running.get(target)
        assert running.gateway.purge_cache(**purge) == len(targets - left)
        assert {target for target in targets if "hit" in status_of(running.get(target))} == left


def test_it_survives_a_reload(gateway: Start) -> None:
    with RawInstance(counting()) as users:
        running = gateway(route(), users=users)
        running.get("/a")
        running.apply(route(ttl="10m"), users=users)
        assert running.get("/a").body == b"1 /a"


def test_the_age_of_an_upstream_cache_counts(gateway: Start) -> None:
    with RawInstance(counting("Cache-Control: max-age=60", "Age: 50")) as users:
        running = gateway(route(), users=users)
        running.get()
        assert int(running.get().one("age") or 0) >= 50
    old = formatdate(1_000_000_000, usegmt=True)
    with RawInstance(counting("Cache-Control: max-age=60", f"Date: {old}")) as users:
        running = gateway(route(), users=users)
        assert (running.get().body, running.get().body) == (b"1 /", b"2 /")


def test_override_ignores_the_freshness_that_the_service_states(gateway: Start) -> None:
    with RawInstance(counting("Cache-Control: max-age=0", "Expires: 0")) as users:
        running = gateway(route(override=True, ttl="1m"), users=users)
        assert (running.get().body, running.get().body) == (b"1 /", b"1 /")


# Freshness that the service does not state


@pytest.mark.parametrize("heuristic", [True, 0.1])
def test_freshness_may_be_guessed_from_the_age_of_what_is_answered(gateway: Start, heuristic: bool | float) -> None:
    with RawInstance(counting(f"Last-Modified: {formatdate(1_000_000_000, usegmt=True)}")) as users:
        running = gateway(route(ttl=0, heuristic=heuristic), users=users)
        assert (running.get().body, running.get().body) == (b"1 /", b"1 /")
        # However old it is.
        assert 86_000 < seconds_left(running.get()) <= 86_400
    with RawInstance(counting(f"Last-Modified: {formatdate(1_000_000_000, usegmt=True)}")) as users:
        running = gateway(route(ttl=0), users=users)
        assert (running.get().body, running.get().body) == (b"1 /", b"2 /")


def test_dates_are_read_whatever_their_case_and_form(gateway: Start) -> None:
    for date in ("THU, 18 aug 2050 02:01:18 gmt", "Thu Aug  8 02:01:18 2050", "Thursday, 18-Aug-50 02:01:18 GMT"):
        with RawInstance(counting(f"Expires: {date}")) as users:
            running = gateway(route(ttl=0), users=users)
            assert (running.get().body, running.get().body) == (b"1 /", b"1 /"), date
