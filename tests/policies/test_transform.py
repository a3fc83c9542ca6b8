from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylae import ConfigError, Gateway
from pylae.testing import FakeService, Reply
from support.exchanges import DEADLINE, ask, gateway
from support.instance import RawInstance
from support.peer import Message, Peer

CONFIGURATION = """
services: {{one: {{instances: ["{url}"]}}, gone: {{instances: ["{gone}"]}}}}
policies:
  transform:
    request: {{set: {{X-Api-Version: 2, X-Kept: gateway}}, append: {{X-Tag: b}}, remove: [X-Debug]}}
    response: {{set: {{X-Frame: a}}, append: {{Link: "</docs>"}}, remove: [Server, x-powered-by]}}
    response_time: true
routes:
  - {{path: /, service: one, auth_required: false}}
  - {{path: /gone, service: gone, retries: 0, auth_required: false}}
  - {{path: /errors, service: one, auth_required: false, transform: {{normalize_errors: true}}}}
  - {{path: /plain, service: one, auth_required: false, transform: false}}
"""


@pytest.fixture
def address(service: FakeService, dead_url: str, tmp_path: Path) -> Iterator[str]:
    with gateway(tmp_path, CONFIGURATION.format(url=service.url, gone=dead_url)) as running:
        yield running


def test_requests_are_changed(address: str, service: FakeService) -> None:
    sent = [("X-Kept", "1"), ("x-kept", "2"), ("X-Tag", "a"), ("x-debug", "1"), ("X-Other", "o")]
    ask(address, headers=sent)
    (request,) = service.requests
    assert request.headers.get_all("X-Api-Version") == ["2"]
    assert request.headers.get_all("X-Kept") == ["gateway"]
    assert request.headers.get_all("X-Tag") == ["a", "b"]
    assert request.headers.get_all("X-Debug") == []
    assert request.headers.get_all("X-Other") == ["o"]


def test_responses_are_changed(address: str, service: FakeService) -> None:
    service.answer = lambda _: Reply(
        headers=[("Server", "x"), ("X-Powered-By", "y"), ("X-Frame", "b"), ("Link", "</other>"), ("X-Other", "o")]
    )
    reply = ask(address)
    assert reply.headers.get_all("Server") == reply.headers.get_all("X-Powered-By") == []
    assert reply.headers.get_all("X-Frame") == ["a"]
    assert reply.headers.get_all("Link") == ["</other>", "</docs>"]
    assert reply.headers.get_all("X-Other") == ["o"]
    assert (reply.headers.get("X-Response-Time") or "").endswith("ms")
    assert float((reply.headers.get("X-Response-Time") or "").removesuffix("ms")) > 0


def test_errors_of_the_gateway_are_changed_too(address: str) -> None:
    reply = ask(address, "/gone")
    assert reply.status == 502
    assert reply.headers.get("X-Frame") == "a"
    assert reply.headers.get("X-Response-Time")


def test_it_can_be_switched_off(address: str, service: FakeService) -> None:
    reply = ask(address, "/plain", headers={"X-Debug": "1"})
    assert reply.headers.get("X-Frame") is None
    assert service.requests[0].headers["X-Debug"] == "1"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("body", [b"", b"<h1>Traceback at 10.0.0.7", b"x" * 100_000])
def test_errors_get_one_form(address: str, service: FakeService, body: bytes, chunked: bool) -> None:
    headers = [("Content-Type", "text/html"), ("ETag", '"1"'), ("Content-Language", "en"), ("Retry-After", "5")]
    service.answer = lambda _: Reply(503, headers, body, chunked)
    reply = ask(address, "/errors", headers={"X-Request-ID": "r-1"})
    assert reply.status == 503
    assert reply.headers.get("Content-Type") == "application/problem+json"
    assert reply.headers.get("ETag") is None
    assert reply.headers.get("Content-Language") is None
    assert reply.headers.get("Retry-After") == "5"
    problem = reply.json()
    assert {key: problem[key] for key in ("type", "status", "detail", "instance", "request_id")} == {
        "type": "urn:pylae:error:service_error",
        "status": 503,
        "detail": "the service answered with 503 Service Unavailable",
        "instance": "/errors",
        "request_id": "r-1",
    }


@pytest.mark.parametrize("head", ["Transfer-Encoding: chunked\r\n", "Content-Length: 99999999999\r\n", ""])
def test_an_endless_error_is_not_waited_for(tmp_path: Path, head: str) -> None:
    """The client has its answer at once, complete; the instance is read on for a moment, and its connection closed."""
    closed = threading.Event()

    def pour(peer: Peer, _: Message) -> None:
        piece = b"x" * 65536
        framed = b"%x\r\n%s\r\n" % (len(piece), piece) if head.startswith("Transfer") else piece
        with contextlib.suppress(OSError):
            peer.send(f"HTTP/1.1 500 Broken\r\nContent-Type: text/html\r\n{head}\r\n".encode())
            while True:
                peer.send(framed)
        closed.set()

    with (
        RawInstance(pour) as instance,
        gateway(tmp_path, CONFIGURATION.format(url=instance.url, gone=instance.url)) as address,
        Peer.connect(address) as peer,
    ):
        for _ in range(2):
            closed.clear()
            peer.send(b"GET /errors HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = peer.read_answer()
            assert (answer.status, b"urn:pylae:error:service_error" in answer.body) == (500, True)
            assert closed.wait(DEADLINE)


def test_an_error_whose_body_never_comes_is_not_waited_for(tmp_path: Path) -> None:
    head = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 100\r\n\r\n"
    with (
        RawInstance(head) as instance,
        gateway(tmp_path, CONFIGURATION.format(url=instance.url, gone=instance.url)) as address,
    ):
        assert ask(address, "/errors").json()["status"] == 404


def test_the_connection_of_an_error_that_was_replaced_is_used_again(tmp_path: Path) -> None:
    page = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60000
    with (
        RawInstance(page) as instance,
        gateway(tmp_path, CONFIGURATION.format(url=instance.url, gone=instance.url)) as address,
    ):
        with Peer.connect(address) as peer:
            for _ in range(3):
                peer.send(b"GET /errors HTTP/1.1\r\nHost: a\r\n\r\n")
                assert peer.read_answer().status == 404
        assert instance.connections == 1


def test_errors_get_one_form_for_old_clients_and_heads(address: str, service: FakeService) -> None:
    service.answer = lambda _: Reply(404, [("Content-Type", "text/plain")], b"no")
    reply = ask(address, "/errors", "HEAD")
    assert (reply.status, reply.headers.get("Content-Type"), reply.body) == (404, "application/problem+json", b"")
    assert reply.headers.get("Content-Length") is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, "application/json"), (500, "application/problem+json; charset=utf-8"), (200, "text/html")],
)
def test_other_answers_pass(address: str, service: FakeService, status: int, kind: str) -> None:
    service.answer = lambda _: Reply(status, [("Content-Type", kind)], b'{"theirs": 1}')
    reply = ask(address, "/errors")
    assert (reply.status, reply.headers.get("Content-Type"), reply.body) == (status, kind, b'{"theirs": 1}')
    assert reply.headers.get("Content-Length") == "13"


def test_every_field_that_may_be_set_is_set(service: FakeService, tmp_path: Path) -> None:
    """What `check` does not refuse has an effect, forwarding fields and those of other policies included."""
    settings = """
services: {one: {instances: ["%s"]}}
policies: {security_headers: {}, cors: {origins: ["*"]}, rate_limit: 100, compression: {}, cache: {ttl: 5m}}
routes:
  - path: /
    service: one
    auth_required: false
    strip_prefix: /
    transform:
      request: {set: {%s}, remove: [User-Agent, Accept-Encoding]}
      response: {set: {%s}, remove: [RateLimit-Policy, Cache-Status]}
"""
    ours = ("X-Forwarded-Prefix", "X-Forwarded-Port", "X-Real-IP", "Forwarded", "traceparent", "Cookie", "X-Any")
    theirs = ("X-Frame-Options", "Access-Control-Allow-Origin", "RateLimit", "Vary", "ETag", "Age", "Server", "X-Any")
    text = settings % (service.url, *(", ".join(f"{name}: own" for name in names) for names in (ours, theirs)))
    with gateway(tmp_path, text) as address:
        reply = ask(address, headers={"Origin": "https://a.example", **dict.fromkeys(ours, "sent")})
    (request,) = service.requests
    assert {name: request.headers.get_all(name) for name in ours} == {name: ["own"] for name in ours}
    assert not {"user-agent", "accept-encoding"} & {name.lower() for name, _ in request.headers.items()}
    assert {name: reply.headers.get_all(name) for name in theirs} == {name: ["own"] for name in theirs}
    assert not {"ratelimit-policy", "cache-status"} & {name.lower() for name, _ in reply.headers.items()}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{request: {set: {Content-Length: 5}}}", "frames the message"),
        ("{response: {append: {Connection: close}}}", "frames the message"),
        ("{response: {remove: [Transfer-Encoding]}}", "frames the message"),
        ("{request: {set: {x-forwarded-for: 10.0.0.1}}}", "writes X-Forwarded-For later.*`trusted_proxies`"),
        ("{request: {append: {X-Forwarded-Host: a}}}", "writes X-Forwarded-Host later"),
        ("{request: {remove: [X-Forwarded-Proto]}}", "writes X-Forwarded-Proto later"),
        ("{request: {set: {X-Request-ID: a}}}", "writes X-Request-ID later.*another name"),
        ("{request: {set: {X_User_Id: admin}}}", "writes X-User-ID later: only an authenticator says"),
        ("{request: {remove: [X-User-Email]}}", "writes X-User-Email later"),
        ("{request: {set: {Host: a}}}", "writes Host later: `preserve_host`"),
        ("{response: {remove: [X-Request-ID]}}", "writes X-Request-ID later"),
        ("{response: {remove: [Date]}}", "writes Date later"),
        ("{request: {set: {'X Y': a}}}", "must be a name"),
        ('{request: {set: {X-Y: "a\\r\\nb"}}}', "visible ASCII"),
        ("{requests: {}}", "did you mean `request`"),
    ],
)
def test_bad_configuration(tmp_path: Path, settings: str, words: str) -> None:
    file = tmp_path / "pylae.yaml"
    text = f"routes:\n  - {{path: /a, service_url: 'http://a', auth_required: false, transform: {settings}}}\n"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        Gateway.from_file(file).check()
