"""`Via`: what a gateway says of itself to those behind it (RFC 9110 section 7.6.3)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from pylae import Gateway, engine
from support.h2client import FramePeer
from support.h2servers import H2Instance
from support.instance import OK, RawInstance
from support.running import Running

Start = Callable[..., Running]


def test_requests_and_answers_say_that_they_came_through(gateway: Start, instance: RawInstance) -> None:
    answer = gateway(all=instance).get("/")
    assert instance.requests[0].all("via") == ["1.1 pylae"]
    assert answer.all("via") == ["1.1 pylae"]


def test_the_protocol_is_that_of_the_message_that_came(gateway: Start) -> None:
    with RawInstance(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", OK) as instance:
        running = gateway({"listeners": [{"address": "127.0.0.1:0", "http2": True}]}, all=instance)
        assert running.get("/").one("via") == "1.0 pylae"
        assert running.raw(b"GET / HTTP/1.0\r\n\r\n", 1)[0].one("via") == "1.1 pylae"
        with FramePeer(running.address) as peer:
            assert peer.get("/").get("via") == "1.1 pylae"
        assert [request.one("via") for request in instance.requests] == ["1.1 pylae", "1.0 pylae", "2.0 pylae"]


def test_an_instance_that_speaks_http2(gateway: Start) -> None:
    with H2Instance(lambda connection, stream, _: connection.answer(stream)) as instance:
        running = gateway({"services": {"one": {"protocol": "http2"}}}, one=instance)
        assert running.get("/").one("via") == "2.0 pylae"
        assert instance.requests[0]["via"] == "1.1 pylae"


def test_it_comes_behind_what_others_said(gateway: Start) -> None:
    with RawInstance(b"HTTP/1.1 200 OK\r\nVia: 1.0 cache\r\nContent-Length: 2\r\n\r\nok") as instance:
        answer = gateway(all=instance).get("/", "Via: 1.1 one", "X-A: 1", "Via: 2.0 two (x, y)")
        assert instance.requests[0].all("via") == ["1.1 one", "2.0 two (x, y)", "1.1 pylae"]
        assert answer.all("via") == ["1.0 cache", "1.1 pylae"]


def test_a_client_cannot_have_it_removed(gateway: Start, instance: RawInstance) -> None:
    gateway(all=instance).get("/", "Connection: via", "Via: 1.1 one")
    assert instance.requests[0].all("via") == ["1.1 pylae"]


def test_it_can_be_left_out(gateway: Start) -> None:
    with RawInstance(b"HTTP/1.1 200 OK\r\nVia: 1.0 cache\r\nContent-Length: 2\r\n\r\nok") as instance:
        answer = gateway("via: false", all=instance).get("/", "Via: 1.1 one")
        assert instance.requests[0].all("via") == ["1.1 one"]
        assert answer.all("via") == ["1.0 cache"]


def test_what_the_gateway_answers_itself_has_none(gateway: Start, instance: RawInstance) -> None:
    running = gateway(
        "routes: [{path: /own, static_response: {status: 200, body: x}}, {path: /x, service: all}]", all=instance
    )
    for target, status in (("/own", 200), ("/nothing", 404)):
        answer = running.get(target)
        assert (answer.status, answer.all("via")) == (status, [])


def test_a_stored_answer_says_it_once(gateway: Start) -> None:
    fields = b'Via: 1.0 cache\r\nCache-Control: max-age=60\r\nETag: "a"\r\n'
    with RawInstance(b"HTTP/1.0 200 OK\r\n" + fields + b"Content-Length: 2\r\n\r\nok") as instance:
        running = gateway("policies: {cache: true}", all=instance)
        for _ in range(3):
            answer = running.get("/")
            assert (answer.status, answer.all("via")) == (200, ["1.0 cache", "1.0 pylae"])
        answer = running.get("/", 'If-None-Match: "a"')
        assert (answer.status, answer.all("via")) == (304, ["1.0 cache", "1.0 pylae"])
        assert len(instance.requests) == 1


def test_an_answer_that_was_revalidated_says_it_once(gateway: Start) -> None:
    stored = b'Cache-Control: no-cache\r\nETag: "a"\r\n'
    answers = (
        b"HTTP/1.1 200 OK\r\n" + stored + b"Content-Length: 2\r\n\r\nok",
        b"HTTP/1.1 304 Not Modified\r\n" + stored + b"\r\n",
    )
    with RawInstance(*answers) as instance:
        running = gateway("policies: {cache: true}", all=instance)
        for _ in range(3):
            answer = running.get("/")
            assert (answer.body, answer.all("via")) == (b"ok", ["1.1 pylae"])
        assert len(instance.requests) == 3


def test_edits_change_what_others_said_and_not_the_gateways_own(gateway: Start) -> None:
    transform = "policies: {transform: {request: {remove: [Via]}, response: {set: {Via: 1.1 edge}}}}"
    with RawInstance(b"HTTP/1.1 200 OK\r\nVia: 1.0 inner\r\nContent-Length: 2\r\n\r\nok") as instance:
        answer = gateway(transform, all=instance).get("/", "Via: 1.1 one")
        assert instance.requests[0].all("via") == ["1.1 pylae"]
        assert answer.all("via") == ["1.1 edge", "1.1 pylae"]
        assert answer.body == b"ok"


def test_explain_shows_it() -> None:
    routes = [{"prefix": "/", "service": "all", "auth_required": False}]
    request = {"method": "GET", "target": "/x", "headers": [], "client": "127.0.0.1", "secure": False}
    for said, shown in ((True, [["Via", "1.1 pylae"]]), (False, [])):
        one = Gateway(services={"all": {"instances": ["http://127.0.0.1:9"]}}, routes=routes, via=said)
        explained = engine.explain(json.dumps(one.plan()), json.dumps(request))
        assert [field for field in explained["upstream_headers"] if field[0] == "Via"] == shown


def test_the_setting_is_one_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text("via: false\n")
    assert Gateway.from_file(file).plan()["via"] is False
    file.write_text("{}\n")
    assert Gateway.from_file(file).plan()["via"] is True
