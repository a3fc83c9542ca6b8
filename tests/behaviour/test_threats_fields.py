"""Fields that must not pass (`threats.md`: hop-by-hop stripping, identity and forwarded spoofing, header injection)."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from support.instance import RawInstance
from support.peer import Message
from support.running import Running

TRUSTING = "trusted_proxies: [127.0.0.1]"

IDENTITY = ("X-User-ID", "X-User-Role", "X-User-Email")
FORWARDED = (
    "Forwarded",
    "X-Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Proto",
    "X-Forwarded-Scheme",
    "X-Forwarded-Ssl",
    "X-Forwarded-User",
    "X-Real-IP",
)


def _sent(running: Running, instance: RawInstance, *fields: str) -> Message:
    """What the instance sees of a request with these fields."""
    assert running.get("/", *fields).status == 200
    return instance.requests[-1]


def _spellings(name: str) -> list[str]:
    return [name, name.lower(), name.upper(), name.replace("-", "_"), name.lower().replace("-", "_", 1)]


@pytest.mark.parametrize("configuration", ["", TRUSTING], ids=["untrusted", "trusted"])
@pytest.mark.parametrize("name", IDENTITY)
def test_identity_names_never_pass(
    name: str, configuration: str, gateway: Callable[..., Running], instance: RawInstance
) -> None:
    running = gateway(configuration, all=instance)
    for spelling in _spellings(name):
        _sent(running, instance, f"{spelling}: forged")
        _sent(running, instance, f"{spelling}: forged", f"{name}: forged")
    assert b"forged" not in instance.received


@pytest.mark.parametrize("name", FORWARDED)
def test_forwarded_names_of_an_untrusted_peer_never_pass(
    name: str, gateway: Callable[..., Running], instance: RawInstance
) -> None:
    running = gateway(all=instance)
    for spelling in _spellings(name):
        _sent(running, instance, f"{spelling}: 10.9.8.7")
    assert b"10.9.8.7" not in instance.received


def test_what_others_forwarded_is_repeated_in_vain(gateway: Callable[..., Running], instance: RawInstance) -> None:
    """Repeated fields of an untrusted peer do not pass either, and no policy's own is lost with them."""
    policy = "policies: {transform: {request: {set: {X-Forwarded-Prefix: /shop}}}}"
    running = gateway(policy, all=instance)
    request = _sent(
        running,
        instance,
        "X-Forwarded-For: 10.9.8.7",
        "X-Forwarded-For: 10.9.8.7, 10.9.8.7",
        "X-Forwarded-Proto: 10.9.8.7",
        "X-Forwarded-Proto: 10.9.8.7",
        "X-Forwarded-Host: 10.9.8.7",
        "X-Forwarded-Host: 10.9.8.7",
        "Forwarded: for=10.9.8.7",
        "Forwarded: for=10.9.8.7;proto=https",
        "X-Forwarded-Prefix: 10.9.8.7",
        "X-Forwarded-Prefix: 10.9.8.7",
    )
    assert b"10.9.8.7" not in request.raw_head
    assert request.all("x-forwarded-prefix") == ["/shop"]
    assert request.all("x-forwarded-for") == ["127.0.0.1"]
    assert request.all("x-forwarded-proto") == ["http"]
    assert request.all("x-forwarded-host") == ["gateway.test"]


@pytest.mark.parametrize("name", ["Proxy", "Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate"])
def test_proxy_names_never_pass(name: str, gateway: Callable[..., Running], instance: RawInstance) -> None:
    _sent(gateway(TRUSTING, all=instance), instance, f"{name}: forged")
    assert b"forged" not in instance.received


def test_hop_by_hop_fields_stay(gateway: Callable[..., Running], instance: RawInstance) -> None:
    request = _sent(
        gateway(all=instance),
        instance,
        "Connection: X-One, keep-alive",
        "Connection: x-two",
        "X-One: 1",
        "X-TWO: 2",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Trailer: X-Three",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        "X-Four: 4",
    )
    names = {name for name, _ in request.fields}
    gone = {"connection", "x-one", "x-two", "keep-alive", "te", "trailer", "upgrade", "http2-settings"}
    assert not names & gone
    assert request.one("x-four") == "4"


def test_fields_are_neither_joined_nor_reordered(gateway: Callable[..., Running], instance: RawInstance) -> None:
    request = _sent(gateway(all=instance), instance, "X-A: 1", "Cookie: a=b", "X-A: 2", "cookie: c=d", "X-Empty:")
    assert [field for field in request.fields if field[0] in ("x-a", "cookie", "x-empty")] == [
        ("x-a", "1"),
        ("cookie", "a=b"),
        ("x-a", "2"),
        ("cookie", "c=d"),
        ("x-empty", ""),
    ]


def test_forwarding_fields_of_an_untrusted_peer(gateway: Callable[..., Running], instance: RawInstance) -> None:
    request = _sent(gateway(all=instance), instance, "X-Forwarded-For: 10.9.8.7", "X-Forwarded-Proto: https")
    assert request.one("x-forwarded-for") == "127.0.0.1"
    assert request.one("x-forwarded-proto") == "http"
    assert request.one("x-forwarded-host") == "gateway.test"
    assert request.one("host") == "gateway.test"


def test_forwarding_fields_of_a_trusted_peer(gateway: Callable[..., Running], instance: RawInstance) -> None:
    request = _sent(
        gateway(TRUSTING, all=instance),
        instance,
        "X-Forwarded-For: 10.9.8.7",
        "x-forwarded-for: 10.9.8.6, 10.9.8.5",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: outside.test",
        "X-Forwarded-Prefix: /shop",
        "Forwarded: for=10.9.8.7;proto=https",
    )
    assert request.one("x-forwarded-prefix") == "/shop"
    assert request.one("forwarded") == "for=10.9.8.7;proto=https"
    assert request.one("x-forwarded-for") == "10.9.8.7, 10.9.8.6, 10.9.8.5, 127.0.0.1"
    assert request.one("x-forwarded-proto") == "https"
    assert request.one("x-forwarded-host") == "outside.test"


@pytest.mark.parametrize("spelling", ["X_Forwarded_For", "X-Forwarded_For", "x_forwarded-for"])
def test_underscores_do_not_make_another_name_even_of_a_trusted_peer(
    spelling: str, gateway: Callable[..., Running], instance: RawInstance
) -> None:
    request = _sent(gateway(TRUSTING, all=instance), instance, f"{spelling}: 10.9.8.7")
    assert b"10.9.8.7" not in request.raw_head


def test_request_ids(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway(all=instance)
    for good in ("a", "A-b_c.9", "x" * 128):
        answer = running.get("/", f"X-Request-ID: {good}")
        assert answer.one("x-request-id") == instance.requests[-1].one("x-request-id") == good
    for bad in ("", "x" * 129, "a b", "a/b", "ä", "<script>", "a\tb"):
        answer = running.get("/", f"X-Request-ID: {bad}")
        made = answer.one("x-request-id")
        assert made == instance.requests[-1].one("x-request-id")
        assert re.fullmatch("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made or ""), bad
    assert running.get("/").one("x-request-id") != running.get("/").one("x-request-id")


def test_an_instance_does_not_choose_the_request_id(gateway: Callable[..., Running]) -> None:
    with RawInstance(b"HTTP/1.1 200 OK\r\nX-Request-ID: forged\r\nContent-Length: 0\r\n\r\n") as instance:
        assert gateway(all=instance).get("/", "X-Request-ID: mine").one("x-request-id") == "mine"


def test_trace_context(gateway: Callable[..., Running], instance: RawInstance) -> None:
    """It is the services' own: it passes as it came, later versions of it too, and none is made."""
    running = gateway(all=instance)
    good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for parent in (good, f"cc{good[2:]}-what-comes-later", good[:-2] + "00", good.upper(), "x", ""):
        request = _sent(running, instance, f"traceparent: {parent}", "tracestate: a=b", "tracestate: c=d")
        assert (request.one("traceparent"), request.all("tracestate")) == (parent, ["a=b", "c=d"])
    request = _sent(running, instance, "tracestate: a=b")
    assert ("traceparent" in request, request.one("tracestate")) == (False, "a=b")
    assert not {"traceparent", "tracestate"} & {name for name, _ in _sent(running, instance).fields}


def test_the_host_of_the_instance_or_of_the_client(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway(
        "routes: [{path: /own, service: all, preserve_host: false}, {path: /kept, service: all}]",
        all=instance,
    )
    for path, sent, seen in (
        ("/own", "Gateway.TEST:80", instance.address),
        ("/kept", "Gateway.TEST:8080", "gateway.test:8080"),
    ):
        running.raw(f"GET {path} HTTP/1.1\r\nHost: {sent}\r\n\r\n".encode(), 1)
        assert instance.requests[-1].one("host") == seen


def test_nothing_that_a_client_says_breaks_out_of_an_error(
    gateway: Callable[..., Running], instance: RawInstance
) -> None:
    running = gateway("routes: [{path: /a, service: all}]", all=instance)
    answer = running.get("/%3Cscript%3E%0D%0AX:%20y", "Accept: text/html")
    assert answer.status == 404
    assert b"<script>" not in answer.body
    assert "x" not in answer
