"""Hooks do the same in the gateway's own process and in hook hosts."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator

import pytest

from pylae import Gateway, Service
from pylae.testing import Client, FakeService, Reply
from support.exchanges import ask
from support.hooked import calls, running, until
from support.hosted import hosted
from support.peer import raw

pytestmark = pytest.mark.parametrize("processes", [0, 2])

HEADERS = [("Accept", "a/b"), ("X-Tag", "1"), ("X-Tag", "2"), ("X-Request-ID", "abc"), ("X-User-ID", "root")]


def test_what_a_hook_sees(service: FakeService, processes: int) -> None:
    with running(hosted(service.url, processes, "look")) as address:
        seen = ask(address, "/orders/a%20b;v=1?x=1&x=%32", headers=[*HEADERS, ("Cookie", "a=1; b=2")]).json()
    port = address.rpartition(":")[2]
    assert seen.pop("keys")[:2] == ["method", "path"]
    assert {"accept", "x-tag", "cookie"} <= {name.lower() for name in seen.pop("names")}
    assert seen == {
        "method": "GET",
        "path": "/orders/a%20b",
        "raw_path": seen["raw_path"],
        "query": "x=1&x=%32",
        "params": {"id": "a b"},
        "query_params": [["x", "1"], ["x", "2"]],
        "cookies": {"a": "1", "b": "2"},
        "url": f"http://127.0.0.1:{port}/orders/a%20b;v=1?x=1&x=%32",
        "accept": "a/b",
        "tags": ["1", "2"],
        "client_ip": "127.0.0.1",
        "id": "abc",
        "route": "orders",
        "user": None,
        "service": "shop",
        "state": {},
        "colour": "none",
    }


def test_what_earlier_hooks_have_changed(service: FakeService, processes: int) -> None:
    block = {"on_request": "@block", "blocking": True}
    with running(hosted(service.url, processes, "change", "wait", block, "look")) as address:
        answer = ask(address, "/orders/1", headers=HEADERS)
    seen = answer.json()
    assert (seen["path"], seen["query"], seen["accept"], seen["colour"]) == ("/v2/other", "page=2", None, "blue")
    assert seen["state"] == {"seen": ["change", "wait", "block"]}
    assert seen["user"] == ["u1", "u1@example.org", "admin", ["read"], {"team": 7}, "hook"]
    assert answer.headers.get_all("X-Every") == ["1", "2"]


def test_what_reaches_the_service_and_the_client(service: FakeService, processes: int) -> None:
    service.on("GET", "/v2/other", Reply(418, (("Content-Type", "text/tea"),), b"tea"))
    with running(hosted(service.url, processes, "change", "wait", {"on_response": "@brand"})) as address:
        answer = ask(address, "/orders/1?page=1", headers=HEADERS)
    (request,) = service.requests
    assert request.target == "/v2/other?page=2"
    assert request.headers.get_all("X-Many") == ["1", "2"]
    assert (request.headers["X-Tenant"], request.headers.get("Accept")) == ("blue", None)
    assert (answer.status, answer.body, answer.headers["X-Was"]) == (419, b"tea", "418 text/tea")
    assert json.loads(answer.headers["X-Seen"]) == [["change", "wait"], "blue", "/v2/other"]


@pytest.mark.parametrize("stage", ["early", "late"])
def test_a_middleware(service: FakeService, processes: int, stage: str) -> None:
    with running(hosted(service.url, processes, {"middleware": "@around", "stage": stage})) as address:
        plain = ask(address, "/")
        refused = ask(address, "/", headers={"X-Refuse": "1"})
        answered = ask(address, "/", headers={"X-Answer": "1"})
    assert (plain.status, plain.headers["X-Around"]) == (200, "in 200")
    assert (refused.status, refused.headers["X-Why"], refused.json()["detail"]) == (403, "because", "not today")
    assert (answered.status, answered.body, answered.headers["X-Mine"]) == (201, b"mine", "1")
    assert len(service.requests) == 1


def test_a_blocking_middleware(service: FakeService, processes: int) -> None:
    with running(hosted(service.url, processes, {"middleware": "@around_blocking", "routes": "others"})) as address:
        assert ask(address, "/").headers["X-Around"] == "blocking 200"


def test_whole_bodies(service: FakeService, processes: int) -> None:
    large = b"a" * 3_000_000
    echo = {"on_request": "@echo", "body": "4MB", "routes": "orders"}
    shout = {"on_response": "@shout", "body": True, "routes": "others"}
    with running(hosted(service.url, processes, echo, shout)) as address:
        assert ask(address, "/orders/1", "POST", body=large).body == large
        assert ask(address, "/orders/1", "POST", body=b"a" * 4_200_000).status == 413
        assert ask(address, "/").body == b"HELLO"


def test_bodies_that_pass(service: FakeService, processes: int) -> None:
    pieces = [b"a" * 70_000, b"b", b"c" * 200_000]
    service.on("GET", "/many", Reply(body=pieces))
    with running(hosted(service.url, processes, "change", {"on_response_body": "@upper"})) as address:
        service.on("GET", "/v2/other", Reply(body=pieces))
        assert ask(address, "/", headers=HEADERS).body == b"".join(pieces).upper() + b"[200 ['change']]"


def test_a_body_hook_that_fails_breaks_the_body(service: FakeService, processes: int) -> None:
    service.on("GET", "/", Reply(body=[b"a", b"b"]))
    with running(hosted(service.url, processes, {"on_response_body": "@broken"})) as address:
        with pytest.raises(Exception, match=r"."):
            ask(address, "/").body  # noqa: B018
        assert ask(address, "/orders/1", "HEAD").status == 200


def test_events(service: FakeService, processes: int) -> None:
    events = (b"data: one\n\n", b"data: two\n\n")
    service.on("GET", "/", Reply(200, (("Content-Type", "text/event-stream"),), list(events)))
    with running(hosted(service.url, processes, {"on_response_events": "@numbered"})) as address:
        assert ask(address, "/").body == b"id: 1\ndata: one\n\nid: 2\ndata: two\n\n"


def test_a_stream_arrives_piece_by_piece(service: FakeService, processes: int) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"data: one\n\n"
        assert arrived.wait(10)
        yield b"data: two\n\n"

    arrived = threading.Event()
    service.on("GET", "/", lambda _: Reply(200, (("Content-Type", "text/event-stream"),), pieces()))
    gateway = hosted(service.url, processes, {"on_response_events": "@numbered"})
    with running(gateway) as address, Client(address).stream("GET", "/") as response:
        received = iter(response)
        assert next(received) == b"id: 1\ndata: one\n\n"
        arrived.set()
        assert b"".join(received) == b"id: 2\ndata: two\n\n"


@pytest.mark.parametrize(("on_error", "status"), [("fail", 500), ("skip", 200)])
def test_failures(
    service: FakeService, processes: int, on_error: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("fail", "mistake"):
        with running(hosted(service.url, processes, {"on_request": f"@{name}", "on_error": on_error})) as address:
            answer = ask(address, "/")
        assert answer.status == status
        assert b"secret" not in answer.body
    assert any("secret of the hook" in record.getMessage() for record in caplog.records)
    assert any("the hook has returned a dict" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(("on_error", "status"), [("fail", 500), ("skip", 200)])
@pytest.mark.parametrize("name", ["linger", "spin"])
def test_timeouts(service: FakeService, processes: int, on_error: str, status: int, name: str) -> None:
    hook = {"on_request": f"@{name}", "on_error": on_error, "timeout": "100ms"}
    with running(hosted(service.url, processes, hook)) as address:
        assert ask(address, "/", headers={f"X-{name}": "1"}).status == status
        assert ask(address, "/").status == 200


def test_another_service(service: FakeService, processes: int) -> None:
    with FakeService("other") as other:
        gateway = hosted(service.url, processes, "choose", "look")
        gateway.add_service("other", Service(instances=[other.url]))
        with running(gateway) as address:
            assert ask(address, "/").json()["service"] == "other"
        gateway = hosted(service.url, processes, "choose")
        gateway.add_service("other", Service(instances=[other.url]))
        with running(gateway) as address:
            assert ask(address, "/").body == b"other"
        gateway = hosted(service.url, processes, "choose")
        with running(gateway) as address:
            assert ask(address, "/").status == 500


def test_early_hooks(service: FakeService, processes: int) -> None:
    early = ({"on_request": "@route_early", "stage": "early"}, {"on_response": "@mark_early", "stage": "early"})
    with running(hosted(service.url, processes, *early, {"on_response": "@brand"})) as address:
        answer = ask(address, "/7")
        missing = ask(address, "/7", "BREW")
    assert service.requests[0].target == "/orders/7"
    assert service.requests[0].headers["Host"] == "other.test"
    assert (answer.status, answer.headers["X-Early"]) == (200, "200 orders True")
    assert json.loads(answer.headers["X-Seen"])[2] == "/orders/7"
    assert missing.headers["X-Early"].startswith(f"{missing.status} ")


def test_answers_to_malformed_requests(service: FakeService, processes: int) -> None:
    hook = {"on_response": "@mark_early", "stage": "early", "malformed": True}
    with running(hosted(service.url, processes, hook)) as address:
        (answer,) = raw(address, b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n", 1)
    assert answer.status == 400
    assert dict(answer.fields)["x-early"] == "400 None None"


def test_bodies_of_errors(service: FakeService, processes: int) -> None:
    service.on("GET", "/", Reply(404, (("Content-Type", "text/plain"),), b"gone"))
    with running(hosted(service.url, processes, {"middleware": "@explained"})) as address:
        assert ask(address, "/").json() == {"was": "gone", "path": "/"}


def test_a_request_of_another_exchange_is_over(service: FakeService, processes: int) -> None:
    with running(hosted(service.url, min(processes, 1), "keep")) as address:
        for _ in range(2):
            ask(address, "/")
        ask(address, "/", headers={"X-Forget": "1"})
    assert "can only be used while a hook" in service.requests[1].headers["X-Kept"]


def test_a_cost_that_a_hook_tells(service: FakeService, processes: int) -> None:
    limit = {"limit": 100, "per": "1h", "settle": "hook", "cost": 10}
    gateway = hosted(service.url, processes, {"on_response": "@settle"}, policies={"rate_limit": limit})
    with running(gateway) as address:
        ask(address, "/")
        # 41 for the first one, and the estimate for this one.
        assert ask(address, "/").headers["RateLimit"].startswith('"default";r=49;')


def test_counters_and_the_log(service: FakeService, processes: int, caplog: pytest.LogCaptureFixture) -> None:
    gateway: Gateway = hosted(service.url, processes, "tell")
    with caplog.at_level(logging.WARNING, "shop"), running(gateway) as address:
        ask(address, "/")
        until(lambda: calls(gateway)["hosted:tell"]["calls"] == 1)
        until(lambda: any(record.getMessage() == "a hook says hello" for record in caplog.records))
