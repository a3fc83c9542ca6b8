"""The fixtures themselves: what other tests rely on."""

from __future__ import annotations

import json
from collections.abc import Callable

from support.instance import OK, EchoInstance, RawInstance
from support.peer import raw
from support.running import Process, Running, configure


def test_a_gateway_in_this_process(gateway: Callable[..., Running], echo: EchoInstance) -> None:
    running = gateway("routes: [{path: /a, service: users}]", users=echo)
    assert json.loads(running.get("/a").body)["target"] == "/a"
    assert running.get("/b").status == 404
    running.apply("routes: [{path: /b, service: users}]", users=echo)
    assert running.get("/b").status == 200


def test_a_gateway_as_a_process(gateway_process: Callable[..., Process], instance: RawInstance) -> None:
    running = gateway_process(users=instance)
    answers = raw(running.address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2, 2)
    assert [answer.body for answer in answers] == [b"ok", b"ok"]
    assert [request.target for request in instance.requests] == ["/", "/"]
    assert running.memory > 2**20


def test_an_instance_that_the_test_plays(gateway: Callable[..., Running]) -> None:
    with RawInstance() as played:
        running = gateway(users=played)
        with running.connect() as client:
            client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            peer = played.accept()
            assert peer.read_request().target == "/x"
            peer.send(OK[:10], OK[10:])
            assert client.read_answer().body == b"ok"


def test_what_is_left_out_is_filled_in() -> None:
    config = configure(users="http://127.0.0.1:1")
    assert config["routes"] == [{"auth_required": False, "name": "all", "prefix": "/", "service": "users"}]
    assert config["workers"] == 1
