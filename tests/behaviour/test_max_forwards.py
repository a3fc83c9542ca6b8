"""`Max-Forwards`: how far OPTIONS and TRACE may go (RFC 9110 section 7.6.2)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from support.instance import EchoInstance, RawInstance
from support.running import Running

Start = Callable[..., Running]


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
@pytest.mark.parametrize(
    ("said", "sent"), [("1", "0"), ("10", "9"), ("007", "6"), ("99999999999999999999999", "18446744073709551614")]
)
def test_it_is_counted_down(method: str, said: str, sent: str, gateway: Start, instance: RawInstance) -> None:
    request = f"{method} /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: {said}\r\n\r\n".encode()
    assert gateway(all=instance).raw(request, 1)[0].status == 200
    assert instance.requests[0].all("max-forwards") == [sent]


def test_other_methods_pass_it_on(gateway: Start, instance: RawInstance) -> None:
    running = gateway(all=instance)
    for method in ("GET", "POST", "DELETE"):
        for said in ("0", "5", "x"):
            request = f"{method} /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: {said}\r\nContent-Length: 0\r\n\r\n"
            assert running.raw(request.encode(), 1)[0].status == 200
            assert instance.requests[-1].one("max-forwards") == said


def test_without_it_nothing_is_counted(gateway: Start, echo: EchoInstance) -> None:
    answer = gateway(all=echo).raw(b"OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n", 1)[0]
    assert "max-forwards" not in dict(json.loads(answer.body)["headers"])


def test_at_zero_the_gateway_says_what_there_is(gateway: Start, instance: RawInstance) -> None:
    running = gateway(
        """
        routes:
          - {path: /x, method: GET|OPTIONS, service: all}
          - {prefix: /x, method: PUT, service: all}
          - {prefix: /, method: OPTIONS|PURGE, service: all}
          - {prefix: /, method: DELETE, host: other.test, service: all}
          - {prefix: /any, service: all}
        policies: {security_headers: {}}
        """,
        all=instance,
    )
    for target, allow in (
        ("/x", "GET, HEAD, OPTIONS, PURGE, PUT"),
        ("/y", "OPTIONS, PURGE"),
        ("/any", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PURGE, PUT, TRACE"),
    ):
        request = f"OPTIONS {target} HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n".encode()
        answer = running.raw(request, 1)[0]
        assert (answer.status, answer.one("allow"), answer.body) == (204, allow, b"")
        assert answer.one("x-content-type-options") == "nosniff"
    assert instance.requests == []


def test_at_zero_a_trace_is_not_reflected(gateway: Start, instance: RawInstance) -> None:
    request = b"TRACE /x HTTP/1.1\r\nHost: a\r\nCookie: secret=1\r\nMax-Forwards: 0\r\n\r\n"
    answer = gateway(all=instance).raw(request, 1)[0]
    assert answer.status == 501
    assert b"secret" not in answer.raw_head + answer.body
    assert instance.requests == []


@pytest.mark.parametrize("said", ["", "-1", "+1", "1.5", "x", "1, 2", "0x1"])
def test_what_is_no_number_is_refused(said: str, gateway: Start, instance: RawInstance) -> None:
    request = f"OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: {said}\r\n\r\n".encode()
    assert gateway(all=instance).raw(request, 1)[0].status == 400
    assert instance.requests == []


def test_two_of_them_are_refused(gateway: Start, instance: RawInstance) -> None:
    request = b"OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\nMax-Forwards: 1\r\n\r\n"
    assert gateway(all=instance).raw(request, 1)[0].status == 400


def test_policies_come_first(gateway: Start, instance: RawInstance) -> None:
    closed = """
        auth: {jwt: {secret: a secret of more than thirty-two bytes, algorithms: HS256}}
        routes: [{prefix: /, service: all}]
    """
    request = b"OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"
    assert gateway(closed, all=instance).raw(request, 1)[0].status == 401


def test_the_answer_of_a_preflight_stays_that(gateway: Start, instance: RawInstance) -> None:
    request = (
        b"OPTIONS /x HTTP/1.1\r\nHost: a\r\nOrigin: https://app.test\r\nAccess-Control-Request-Method: GET\r\n"
        b"Max-Forwards: 0\r\n\r\n"
    )
    answer = gateway("policies: {cors: {origins: ['https://app.test']}}", all=instance).raw(request, 1)[0]
    assert (answer.status, answer.one("access-control-allow-origin")) == (204, "https://app.test")
