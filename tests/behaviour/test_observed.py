"""Each exchange that was begun has exactly one line in the access log and is counted once, however it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.h2client import FramePeer
from support.instance import OK, RawInstance
from support.peer import Peer, wait_until
from support.running import Running

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"

Play = Callable[[Running, RawInstance], None]


@dataclass(frozen=True)
class Way:
    """How an exchange ends early, and what is said about it."""

    play: Play
    status: int
    code: str | None
    complete: bool = False
    route: str | None = "all"
    limits: str = "{}"


def _asked(client: Peer, instance: RawInstance, request: bytes = GET) -> Peer:
    """The instance's end, once it has got the request's head."""
    client.send(request)
    peer = instance.accept()
    peer.read_head()
    return peer


def _gone_in_the_head(running: Running, _: RawInstance) -> None:
    with running.connect() as client:
        client.send(GET[:10])


def _gone_in_the_body(running: Running, instance: RawInstance) -> None:
    with running.connect() as client:
        _asked(client, instance, POST + b"some")


def _gone_while_it_waits(running: Running, instance: RawInstance) -> None:
    with running.connect() as client:
        _asked(client, instance)


def _gone_in_the_answer(running: Running, instance: RawInstance) -> None:
    with running.connect() as client:
        _asked(client, instance).send(HALF)
        client.read_head()
        client.reset()


def _refused_head(running: Running, _: RawInstance) -> None:
    assert running.raw(GET.replace(b"Host: a", b"Host : a"))[0].status == 400


def _refused_target(running: Running, _: RawInstance) -> None:
    assert running.raw(GET.replace(b"/x", b"/%2F"))[0].status == 400


def _slow_head(running: Running, _: RawInstance) -> None:
    assert running.raw(GET[:10])[0].status == 408


def _slow_body(running: Running, instance: RawInstance) -> None:
    with running.connect() as client:
        _asked(client, instance, POST + b"some")
        assert client.read_answer().status == 408


def _large_body(running: Running, _: RawInstance) -> None:
    assert running.raw(POST)[0].status == 413


def _unreachable(running: Running, instance: RawInstance) -> None:
    instance.stop()
    assert running.get("/x").status == 502


def _instance_gone_before_its_answer(running: Running, instance: RawInstance) -> None:
    with running.connect() as client:
        _asked(client, instance).close()
        assert client.read_answer().status == 502


def _instance_gone_in_its_answer(running: Running, instance: RawInstance) -> None:
    with running.connect() as client:
        peer = _asked(client, instance)
        peer.send(HALF)
        client.read_head()
        peer.close()
        assert client.read_all() == b"hello"


def _slow_instance(running: Running, instance: RawInstance) -> None:
    with running.connect() as client:
        _asked(client, instance)
        assert client.read_answer().status == 504


def _cut_while_it_waits(running: Running, instance: RawInstance) -> None:
    with running.connect() as client:
        _asked(client, instance)
        running.stop(drain=True)
        assert client.at_end()


def _cut_in_the_head(running: Running, _: RawInstance) -> None:
    with running.connect() as client:
        client.send(GET[:10])
        wait_until(lambda: running.gateway.stats()["totals"]["connections"] == 1)
        running.stop(drain=True)
        assert client.at_end()


def _cut_in_the_answer(running: Running, instance: RawInstance) -> None:
    with running.connect() as client:
        _asked(client, instance).send(HALF)
        client.read_head()
        assert client.read(5) == b"hello"
        running.stop(drain=True)
        assert client.at_end()


def _no_route(running: Running, _: RawInstance) -> None:
    assert running.get("/nothing").status == 404


def _stream_that_is_no_request(running: Running, _: RawInstance) -> None:
    with FramePeer(running.address) as peer:
        fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/x"), ("host", "b")]
        assert peer.answer(peer.open(fields)).reset == 1


def _stream_that_is_reset(running: Running, instance: RawInstance) -> None:
    with FramePeer(running.address) as peer:
        stream = peer.open([(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/x")])
        instance.accept().read_head()
        peer.connection.reset_stream(stream, 8)
        peer.flush()
        wait_until(lambda: running.gateway.stats()["totals"]["abandoned"] == 1)


SOON = "{drain_timeout: 200ms}"
WAYS = {
    "client gone in the head": Way(_gone_in_the_head, 499, "client_gone", route=None),
    "client gone in its body": Way(_gone_in_the_body, 499, "client_gone"),
    "client gone while it waits": Way(_gone_while_it_waits, 499, "client_gone"),
    "client gone in the answer": Way(_gone_in_the_answer, 200, None),
    "refused head": Way(_refused_head, 400, "malformed_request", complete=True, route=None),
    "refused target": Way(_refused_target, 400, "malformed_target", complete=True, route=None),
    "slow head": Way(_slow_head, 408, "head_timeout", True, None, "{head_timeout: 200ms}"),
    "slow body": Way(_slow_body, 408, "body_timeout", True, limits="{min_rate: 1000, body_grace: 200ms}"),
    "large body": Way(_large_body, 413, "body_too_large", True, limits="{max_body: 10}"),
    "no route": Way(_no_route, 404, "no_route", complete=True, route=None),
    "unreachable instance": Way(_unreachable, 502, "connect_failed", complete=True),
    "instance gone before its answer": Way(_instance_gone_before_its_answer, 502, "bad_gateway", complete=True),
    "instance gone in its answer": Way(_instance_gone_in_its_answer, 200, None),
    "slow instance": Way(_slow_instance, 504, "gateway_timeout", complete=True),
    "cut by a drain in the head": Way(_cut_in_the_head, 503, "cut_off", route=None, limits=SOON),
    "cut by a drain while it waits": Way(_cut_while_it_waits, 503, "cut_off", limits=SOON),
    "cut by a drain in the answer": Way(_cut_in_the_answer, 200, "cut_off", limits=SOON),
    "stream that is no request": Way(_stream_that_is_no_request, 400, "malformed_request", route=None),
    "stream that is reset": Way(_stream_that_is_reset, 499, "client_gone"),
}


def _configuration(log: Path, limits: str = "{}") -> str:
    return f"""
        listeners: [{{address: "127.0.0.1:0", http2: true}}]
        limits: {limits}
        policies: {{access_log: {{output: "{log}"}}}}
        routes: [{{name: all, path: /x, service: all, retries: 0, timeout: 1s}}]
    """


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def _counted(totals: dict[str, Any]) -> int:
    return sum(totals["by_class"]) + int(totals["abandoned"])


@pytest.mark.parametrize("name", WAYS)
def test_one_line_and_one_count(name: str, gateway: Callable[..., Running], tmp_path: Path) -> None:
    way, log = WAYS[name], tmp_path / "access.log"
    with RawInstance() as instance:
        running = gateway(_configuration(log, way.limits), all=instance)
        engine = running.gateway.engine
        way.play(running, instance)
        wait_until(lambda: _counted(engine.stats()["totals"]) == 1)
        running.stop(drain=True)
        (line,) = _lines(log)
        assert (line["status"], line["code"], line["complete"]) == (way.status, way.code, way.complete)
        assert line["route"] == way.route
        assert line["client"] == "127.0.0.1"
        assert line["request_id"]
        assert (line["bytes_out"] > 0) == (way.status not in (499, 503) and name != "stream that is no request")
        assert _counted(engine.stats()["totals"]) == 1


def test_beyond_the_bound(gateway: Callable[..., Running], tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with RawInstance() as instance:
        running = gateway(_configuration(log, "{max_requests: 1}"), all=instance)
        with running.connect() as busy:
            peer = _asked(busy, instance)
            assert running.raw(GET, 1)[0].status == 503
            peer.send(OK)
            assert busy.read_answer().status == 200
        running.stop(drain=True)
    assert [(line["status"], line["code"]) for line in _lines(log)] == [(503, "overloaded"), (200, None)]


def test_a_connection_that_says_nothing_has_none(gateway: Callable[..., Running], tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    running = gateway(_configuration(log), all="http://127.0.0.1:9")
    with running.connect() as silent:
        silent.end()
        assert silent.at_end()
    with running.connect() as served:
        served.send(GET)
        assert served.read_answer().status == 502
    running.stop(drain=True)
    assert [line["status"] for line in _lines(log)] == [502]


def test_a_refused_head_does_not_show_the_client_of_the_one_before(
    gateway: Callable[..., Running], instance: RawInstance, tmp_path: Path
) -> None:
    """What a trusted proxy says of one request is not believed of the next on the same connection."""
    log = tmp_path / "access.log"
    running = gateway("trusted_proxies: [127.0.0.1]" + _configuration(log).replace("\n        ", "\n"), all=instance)
    forwarded = GET.replace(b"Host: a", b"Host: a\r\nX-Forwarded-For: 192.0.2.7")
    with running.connect() as client:
        client.send(forwarded, GET.replace(b"Host: a", b"Host : a"))
        assert [client.read_answer().status for _ in range(2)] == [200, 400]
    # One whose head can be read says for whom it is refused.
    assert running.raw(forwarded.replace(b"/x", b"/%2F"))[0].status == 400
    running.stop(drain=True)
    assert [line["client"] for line in _lines(log)] == ["192.0.2.7", "127.0.0.1", "192.0.2.7"]
