"""What no route takes, or is refused before a route is looked for, passes the gateway-wide policies that concern it."""

from __future__ import annotations

from collections.abc import Callable

from support.instance import RawInstance
from support.running import Running

GET = b"GET /x HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example.org\r\n\r\n"
POLICIES = """
policies:
  security_headers: true
  cors: {origins: ["https://app.example.org"]}
  transform: {response_time: true, response: {set: {X-Served-By: pylae}}}
limits: {max_requests: 1}
routes: [{path: /x, service: all}]
"""


def _shaped(answer: object) -> bool:
    return all(name in answer for name in ("x-content-type-options", "x-response-time", "x-served-by", "x-request-id"))  # type: ignore[operator]


def test_refused_heads_look_like_other_answers(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway(POLICIES, all=instance)
    for data, status in (
        (GET.replace(b"/x", b"/%2F"), 400),
        (GET + b"", 200),
        (GET.replace(b"GET", b"CONNECT").replace(b"/x", b"a:1"), 501),
        (GET.replace(b"/x", b"/nothing"), 404),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    ):
        answer = running.raw(data, 1)[0]
        assert answer.status == status
        assert _shaped(answer), answer.fields
    refused = running.raw(GET.replace(b"/x", b"/%2F"), 1)[0]
    assert refused.one("access-control-allow-origin") == "https://app.example.org"


def test_so_does_an_answer_beyond_the_bound(gateway: Callable[..., Running]) -> None:
    with RawInstance() as instance:
        running = gateway(POLICIES, all=instance)
        with running.connect() as busy:
            busy.send(GET)
            instance.accept().read_request()
            answer = running.raw(GET, 1)[0]
    assert answer.status == 503
    assert _shaped(answer)
    assert answer.one("access-control-allow-origin") == "https://app.example.org"


def test_addresses_are_limited_whether_there_is_a_route_or_not(
    gateway: Callable[..., Running], instance: RawInstance
) -> None:
    running = gateway("{policies: {address_limit: 2/day}, routes: [{path: /x, service: all}]}", all=instance)
    assert [running.get("/nothing").status for _ in range(3)] == [404, 404, 429]


def test_a_barred_address_learns_nothing(gateway: Callable[..., Running], instance: RawInstance) -> None:
    barred = "policies: {ip_access: {deny: 127.0.0.1}}"
    running = gateway(f"{barred}\nroutes: [{{path: /x, method: GET, service: all}}]", all=instance)
    preflight = GET.replace(b"GET", b"OPTIONS").replace(b"\r\n\r\n", b"\r\nAccess-Control-Request-Method: PUT\r\n\r\n")
    answers = [running.get("/x"), running.get("/nothing"), *running.raw(GET.replace(b"GET", b"PUT") + preflight, 2)]
    assert {answer.status for answer in answers} == {403}
    assert len({answer.body.count(b"address_refused") for answer in answers}) == 1
