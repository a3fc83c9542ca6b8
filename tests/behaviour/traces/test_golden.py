"""The spans of twelve kinds of exchange, as people read them: `spans/*.txt`, which `--update-golden` rewrites."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from support.frames import TEXT, Opener, close, frame, read_frame
from support.h2client import FramePeer
from support.h2servers import Shop, grpc_instance, hypercorn_instance
from support.instance import OK, Answer, RawInstance
from support.otlp import Sink
from support.otlp.tree import tree
from support.peer import Message, Peer
from support.running import Running

Start = Callable[..., Running]
Compare = Callable[[str], None]

TRACE, CLIENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = f"traceparent: 00-{TRACE}-{CLIENT}-01"
METADATA = (("traceparent", CONTEXT[13:]),)
ORDERS = {"name": "orders", "path": "/orders/{id}", "service": "shop"}
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Where the gateway's spans go."""
    with Sink() as sink:
        yield sink


@pytest.fixture
def traced(gateway: Start, sink: Sink) -> Start:
    """Starts a gateway that samples everything, with the route `orders` unless there are others."""

    def start(instances: Any, **configuration: Any) -> Running:
        configuration = {"routes": [ORDERS], "telemetry": {"traces": sink.url}, **configuration}
        return gateway(configuration, shop=instances)

    return start


@pytest.fixture
def same_spans(request: pytest.FixtureRequest, sink: Sink, golden: Callable[[Path, str], None]) -> Compare:
    """Compares the spans of the client's trace with those in the file that has the name of the test."""
    name = re.sub("^test_", "", request.node.name)
    file = Path(__file__).parent / "spans" / f"{name}.txt"

    def compare(trace_id: str = TRACE) -> None:
        sink.wait_for_spans(trace_id=trace_id, kind="server")
        golden(file, tree(span for span in sink.spans if span.trace_id == trace_id))

    return compare


@contextmanager
def answering(*answers: Answer) -> Iterator[RawInstance]:
    with RawInstance(*(answers or (OK,))) as instance:
        yield instance


def test_http1(traced: Start, same_spans: Compare) -> None:
    secrets = ("Authorization: Bearer s3cret", "Cookie: sid=s3cret", "User-Agent: test/1", "tracestate: foo=1")
    with answering() as instance:
        assert traced(instance).get("/orders/7?token=s3cret", CONTEXT, *secrets).status == 200
        same_spans()


def test_http2(traced: Start, same_spans: Compare) -> None:
    listeners = [{"address": "127.0.0.1:0", "http2": True}]
    with hypercorn_instance() as url:
        running = traced(url, listeners=listeners, services={"shop": {"protocol": "http2"}})
        with FramePeer(running.address) as peer:
            assert peer.get("/orders/7", ("traceparent", CONTEXT[13:])).status == 200
        same_spans()


@contextmanager
def calling(traced: Start, **configuration: Any) -> Iterator[grpc.Channel]:
    """A channel to a gateway before a gRPC server."""
    listeners = [{"address": "127.0.0.1:0", "http2": True}]
    routes = [{"name": "rpc", "prefix": "/shop.Shop", "service": "shop"}]
    with grpc_instance(Shop()) as url:
        services = {"shop": {"protocol": "http2"}}
        running = traced(url, listeners=listeners, services=services, routes=routes, **configuration)
        with grpc.insecure_channel(running.address, [("grpc.primary_user_agent", "test/1")]) as channel:
            yield channel


def test_grpc(traced: Start, same_spans: Compare) -> None:
    with calling(traced) as channel:
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary("/shop.Shop/Break")(b"", metadata=METADATA)
        assert failed.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        same_spans()


def test_grpc_trailers(traced: Start, same_spans: Compare) -> None:
    """The status comes after the first message."""
    with calling(traced) as channel:
        with pytest.raises(grpc.RpcError) as failed:
            list(channel.unary_stream("/shop.Shop/Fail")(b"", metadata=METADATA))
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        same_spans()


def test_calls_that_fail_are_kept(traced: Start, sink: Sink) -> None:
    """Errors are sent although nothing is sampled."""
    with calling(traced, telemetry={"traces": {"endpoint": sink.url, "ratio": 0, "keep": True}}) as channel:
        assert channel.unary_unary("/shop.Shop/Unary")(b"ab") == b"ba"
        with pytest.raises(grpc.RpcError):
            list(channel.unary_stream("/shop.Shop/Fail")(b""))
        kept = sink.wait_for_spans(kind="server")
    assert [span.attributes["url.path"] for span in kept] == ["/shop.Shop/Fail"]


def test_websocket(traced: Start, same_spans: Compare) -> None:
    opener = Opener()
    with RawInstance() as instance:
        running = traced(instance, routes=[{"name": "chat", "path": "/", "service": "shop", "websocket": True}])
        opened = opener(running, instance, CONTEXT)
        opened.client.send(frame(TEXT, b"hello", masked=True))
        assert read_frame(opened.instance).payload == b"hello"
        opened.instance.send(close(1000))
        assert read_frame(opened.client).code == 1000
        opened.client.send(close(1000, masked=True))
        assert read_frame(opened.instance).code == 1000
        opened.instance.close()
        assert opened.client.at_end()
        same_spans()
    opener.close()


def test_retry(traced: Start, same_spans: Compare) -> None:
    with answering(UNAVAILABLE, OK) as instance:
        running = traced(instance, routes=[{**ORDERS, "retry_on": "gateway_error"}])
        assert running.get("/orders/7", CONTEXT).status == 200
        same_spans()


def test_cache_hit(traced: Start, same_spans: Compare) -> None:
    with answering() as instance:
        running = traced(instance, routes=[{**ORDERS, "cache": "1m"}])
        assert running.get("/orders/7").status == 200
        assert running.get("/orders/7", CONTEXT).status == 200
        assert len(instance.requests) == 1
        same_spans()


def test_401(traced: Start, same_spans: Compare) -> None:
    key = {"consumers": {"ada": {"keys": ["2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"]}}}
    with answering() as instance:
        running = traced(instance, auth={"api_key": key})
        assert running.get("/orders/7", CONTEXT, "X-API-Key: s3cret").status == 401
        same_spans()


def test_429(traced: Start, same_spans: Compare) -> None:
    with answering() as instance:
        running = traced(instance, routes=[{**ORDERS, "rate_limit": "1/hour"}])
        assert running.get("/orders/7").status == 200
        assert running.get("/orders/7", CONTEXT).status == 429
        same_spans()


def test_breaker_open(traced: Start, same_spans: Compare) -> None:
    with answering(UNAVAILABLE) as instance:
        running = traced(instance, services={"shop": {"circuit_breaker": {"failure_threshold": 1}}})
        assert running.get("/orders/7").status == 503
        assert running.get("/orders/7", CONTEXT).status == 503
        assert len(instance.requests) == 1
        same_spans()


def test_hook_error(traced: Start, same_spans: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "golden_hooks.py").write_text(
        "def passes(request): ...\ndef breaks(request):\n    raise ValueError('s3cret')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    hooks = [{"on_request": "golden_hooks:passes"}, {"on_request": "golden_hooks:breaks"}]
    with answering() as instance:
        running = traced(instance, hooks=hooks)
        assert running.get("/orders/7", CONTEXT).status == 500
        same_spans()


def test_timeout(traced: Start, same_spans: Compare) -> None:
    with RawInstance() as instance:
        running = traced(instance, routes=[{**ORDERS, "timeout": "100ms", "retries": 0}])
        assert running.get("/orders/7", CONTEXT).status == 504
        same_spans()


def test_client_gone(traced: Start, same_spans: Compare) -> None:
    def hold(peer: Peer, _: Message) -> None:
        assert peer.at_end()

    with answering(hold) as instance:
        running = traced(instance)
        with running.connect() as client:
            client.send(f"GET /orders/7 HTTP/1.1\r\nHost: gateway.test\r\n{CONTEXT}\r\n\r\n".encode())
            instance.accept()
            client.reset()
        same_spans()
