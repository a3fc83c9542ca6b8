"""Keys that are fetched from a server that behaves well, and from one that does not."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from pylae.testing import FakeService, Received, Reply
from support.instance import EchoInstance
from support.peer import wait_until
from support.running import Running
from support.tokens import SIGNED, bearer, segment, token

Start = Callable[..., Running]
ONE, TWO = SIGNED["rotation"]


def jwk_set(*entries: dict[str, dict[str, str]]) -> Reply:
    return Reply(
        headers=(("Content-Type", "application/json"),), body=json.dumps({"keys": [e["jwk"] for e in entries]}).encode()
    )


def in_order(jwk: dict[str, str]) -> list[str | None]:
    """A key without the names of its members."""
    return [jwk.get(name) for name in ("kty", "use", "key_ops", "alg", "kid", "crv", "n", "e", "x", "y", "k")]


@pytest.fixture
def issuer() -> Iterator[FakeService]:
    """A server of keys; it has the first."""
    with FakeService(jwk_set(ONE)) as service:
        yield service


def start(gateway: Start, issuer: FakeService, echo: EchoInstance, **more: object) -> Running:
    return gateway({"auth": {"jwt": {"jwks_url": f"{issuer.url}/keys?tenant=s3cret", **more}}}, echo=echo)


def forged(kid: str) -> str:
    header = segment(json.dumps({"alg": "EdDSA", "kid": kid}).encode())
    return f"{header}.{segment(b'{}')}.{segment(bytes(64))}"


def test_the_first_request_waits_for_the_keys(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    asked, go = threading.Event(), threading.Event()

    def slow(_: Received) -> Reply:
        asked.set()
        assert go.wait(20)
        return jwk_set(ONE)

    issuer.answer = slow
    running = start(gateway, issuer, echo)
    with running.connect() as waiting:
        waiting.send(f"GET / HTTP/1.1\r\nHost: x\r\n{bearer(ONE['token'])}\r\n\r\n".encode())
        assert asked.wait(20)
        # The worker is not held up.
        assert running.get("/").status == 401
        go.set()
        assert waiting.read_answer().status == 200
    assert [request.target for request in issuer.requests] == ["/keys?tenant=s3cret"]


def test_keys_are_fetched_again_though_nobody_asks(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    start(gateway, issuer, echo, refresh="1s")
    wait_until(lambda: len(issuer.requests) >= 3)


def test_a_new_key_is_fetched_when_a_token_names_it(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    running = start(gateway, issuer, echo, refresh="1s")
    assert running.get("/", bearer(ONE["token"])).status == 200
    issuer.answer = lambda _: jwk_set(ONE, TWO)
    # Every request of both keys passes from the moment at which the set has both.
    while len(issuer.requests) < 2:
        assert running.get("/", bearer(ONE["token"])).status == 200
    assert running.get("/", bearer(TWO["token"])).status == 200
    assert running.get("/", bearer(ONE["token"])).status == 200


def test_unknown_keys_cause_one_fetch(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    running = gateway({"auth": {"jwt": {"jwks_url": issuer.url}, "failure_limit": False}}, echo=echo)
    assert running.get("/", bearer(ONE["token"])).status == 200
    assert [running.get("/", bearer(forged(f"no-{number}"))).status for number in range(200)] == [401] * 200
    assert len(issuer.requests) == 1
    assert running.get("/", bearer(ONE["token"])).status == 200


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500),
        Reply(404),
        Reply(302, (("Location", "/elsewhere"),)),
        Reply(body=b""),
        Reply(body=b"<html>"),
        Reply(body=b'{"keys": []}'),
        Reply(body=b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'),
        Reply(body=json.dumps([[TWO["jwk"]]]).encode()),
        Reply(body=json.dumps({"keys": [in_order(TWO["jwk"])]}).encode()),
        Reply(body=b" " * (10 * 2**20)),
        Reply(body=b" " * (10 * 2**20), chunked=True),
    ],
    ids=[
        *("500", "404", "redirect", "empty", "html", "no keys", "a secret", "a list", "a key that is a list"),
        *("10 MB", "10 MB chunked"),
    ],
)
def test_an_answer_that_is_no_key_set(
    gateway: Start, issuer: FakeService, echo: EchoInstance, caplog: pytest.LogCaptureFixture, reply: Reply
) -> None:
    running = start(gateway, issuer, echo, refresh="1s")
    assert running.get("/", bearer(ONE["token"])).status == 200
    failed = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "could not be fetched" in record.getMessage():
                failed.set()

    handler = Handler()
    logging.getLogger("pylae").addHandler(handler)
    issuer.answer = lambda _: reply
    assert failed.wait(20)
    logging.getLogger("pylae").removeHandler(handler)
    # The last good set stays, for tokens that are not remembered too.
    assert running.get("/", bearer(ONE["token"])).status == 200
    assert running.get("/", bearer(TWO["token"])).status == 401
    assert {request.target.partition("?")[0] for request in issuer.requests} == {"/keys"}
    assert "s3cret" not in caplog.text


def test_a_server_that_is_not_there(gateway: Start, dead_url: str, echo: EchoInstance) -> None:
    running = gateway({"auth": {"jwt": {"jwks_url": dead_url}}}, echo=echo)
    answer = running.get("/", bearer(ONE["token"]))
    assert (answer.status, answer.one("Retry-After")) == (503, "1")
    assert running.get("/").status == 401
    assert running.get("/", bearer(token())).status in (401, 503)
    assert echo.count == 0


def test_keys_survive_a_reload(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    running = start(gateway, issuer, echo)
    assert running.get("/", bearer(ONE["token"])).status == 200
    issuer.answer = lambda _: Reply(500)
    running.apply({"auth": {"jwt": {"jwks_url": f"{issuer.url}/keys?tenant=s3cret"}}}, echo=echo)
    assert running.get("/", bearer(ONE["token"])).status == 200
    assert len(issuer.requests) == 1
