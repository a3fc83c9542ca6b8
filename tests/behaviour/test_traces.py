"""Traces: the context that instances get, and which exchanges are sent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.util._once import Once

from pylae import Gateway, Request, Response
from pylae.hooks import CallNext
from pylae.telemetry import spans
from support.hooked import running
from support.instance import EchoInstance, RawInstance
from support.otlp import Sink
from support.peer import Message, Peer
from support.running import Running

Start = Callable[..., Running]

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SAMPLED = f"traceparent: 00-{TRACE}-{PARENT}-01"
NOT_SAMPLED = f"traceparent: 00-{TRACE}-{PARENT}-00"


@pytest.fixture(autouse=True)
def no_provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A program that has set no tracer provider, whatever other tests have done in this process."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    spans.provide.cache_clear()
    yield
    spans.provide.cache_clear()


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A collector."""
    with Sink() as sink:
        yield sink


def traced(sink: Sink, **traces: Any) -> dict[str, Any]:
    """A configuration that sends traces to the sink."""
    return {"telemetry": {"traces": {"endpoint": sink.url, **traces}}}


def context(answer: Message) -> tuple[str, str, str]:
    """Trace id, parent id and flags that the echoing instance got."""
    values = [value for name, value in json.loads(answer.body)["headers"] if name == "traceparent"]
    (value,) = values
    found = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", value)
    assert found, value
    return found[1], found[2], found[3]


def state(answer: Message) -> list[str]:
    """The `tracestate` lines that the echoing instance got."""
    return [value for name, value in json.loads(answer.body)["headers"] if name == "tracestate"]


def test_without_traces_the_context_passes_as_it_is(gateway: Start, echo: EchoInstance) -> None:
    answer = gateway(all=echo).get("/", "traceparent: any", "tracestate: thing")
    fields = json.loads(answer.body)["headers"]
    assert ["traceparent", "any"] in fields
    assert ["tracestate", "thing"] in fields


def test_a_sampled_request_is_in_one_trace_with_client_and_instance(
    gateway: Start, echo: EchoInstance, sink: Sink
) -> None:
    answer = gateway(traced(sink), all=echo).get("/a?secret=1", SAMPLED, "tracestate: a=1,b=2")
    trace_id, above, flags = context(answer)
    assert (trace_id, flags, state(answer)) == (TRACE, "01", ["a=1,b=2"])
    (server,) = sink.wait_for_spans(kind="server")
    (client,) = sink.wait_for_spans(kind="client")
    assert (server.trace_id, server.parent_id, server.trace_state) == (TRACE, PARENT, "a=1,b=2")
    assert (client.trace_id, client.parent_id, client.span_id) == (TRACE, server.span_id, above)
    assert server.name == "GET /"
    assert server.attributes["url.path"] == "/a"
    assert server.attributes["http.response.status_code"] == 200
    assert server.start <= client.start <= client.end <= server.end
    assert "secret" not in str(server.attributes) + str(client.attributes)


def test_each_hop_has_a_parent_id_of_its_own_sampled_or_not(gateway: Start, echo: EchoInstance, sink: Sink) -> None:
    running = gateway(traced(sink), all=echo)
    for sent, flags in [(SAMPLED, "01"), (NOT_SAMPLED, "00")]:
        contexts = {context(running.get("/", sent)) for _ in range(3)}
        assert {(one, flag) for one, _, flag in contexts} == {(TRACE, flags)}
        assert len({above for _, above, _ in contexts} - {PARENT}) == 3
    sink.wait_for_spans(3, kind="server")
    assert {span.flags & 1 for span in sink.spans} == {1}


def test_an_unusable_context_begins_a_new_trace(gateway: Start, echo: EchoInstance, sink: Sink) -> None:
    running = gateway(traced(sink, ratio=0), all=echo)
    for sent in [(), ("traceparent: 00-x",), (SAMPLED, SAMPLED), ("traceparent: ff" + SAMPLED[15:],)]:
        answer = running.get("/", *sent, "tracestate: a=1")
        trace_id, _, flags = context(answer)
        assert (trace_id != TRACE, flags, state(answer)) == (True, "02", [])


def test_the_ratio_of_a_route_decides_where_no_parent_does(gateway: Start, echo: EchoInstance, sink: Sink) -> None:
    routes = [{"name": name, "prefix": f"/{name}", "service": "all"} for name in ("some", "none")]
    telemetry = traced(sink, ratio=0, routes={"some": 1.0, "none": 0.0})
    running = gateway({**telemetry, "routes": routes}, all=echo)
    assert context(running.get("/none"))[2] == "02"
    assert context(running.get("/none", SAMPLED))[2] == "01"
    assert context(running.get("/some"))[2] == "03"
    names = {span.name for span in sink.wait_for_spans(2, kind="server")}
    assert names == {"GET /none", "GET /some"}


def test_a_parent_that_is_ignored_does_not_decide(gateway: Start, echo: EchoInstance, sink: Sink) -> None:
    running = gateway(traced(sink, ratio=0, parent="ignore"), all=echo)
    assert context(running.get("/", SAMPLED))[::2] == (TRACE, "00")


def test_the_tail_rule_keeps_what_failed(gateway: Start, sink: Sink) -> None:
    with RawInstance(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 204 Ok\r\n\r\n") as instance:
        running = gateway(traced(sink, ratio=0, keep={"errors": True}), all=instance)
        assert [running.get("/").status, running.get("/").status] == [500, 204]
        (span,) = sink.wait_for_spans(kind="server")
    assert (span.status, span.attributes["error.type"], span.flags & 1) == ("error", "500", 0)
    (attempt,) = sink.wait_for_spans(kind="client")
    assert attempt.parent_id == span.span_id


def test_each_attempt_is_a_span(gateway: Start, sink: Sink) -> None:
    failure, success = (b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status for status in (503, 200))
    with RawInstance(failure, success) as instance:
        running = gateway(traced(sink), all=instance)
        assert running.get("/").status == 200
        received = re.findall(rb"traceparent: 00-[0-9a-f]{32}-([0-9a-f]{16})-", instance.received)
        attempts = sink.wait_for_spans(2, kind="client")
    assert [span.span_id for span in attempts] == [one.decode() for one in received]
    assert len({span.span_id for span in attempts}) == 2
    assert [span.status for span in attempts] == ["error", "unset"]
    assert attempts[1].attributes["http.request.resend_count"] == 1


def test_a_client_that_goes_away_leaves_a_trace(gateway: Start, sink: Sink) -> None:
    with RawInstance() as instance:
        with Peer.connect(gateway(traced(sink), all=instance).address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            instance.accept().read_request()
        (span,) = sink.wait_for_spans(kind="server")
    assert (span.status, span.attributes["error.type"]) == ("error", "client_gone")
    (attempt,) = sink.wait_for_spans(kind="client")
    assert (attempt.status, attempt.attributes["error.type"]) == ("error", "cancelled")


def test_the_access_log_has_the_trace(gateway: Start, echo: EchoInstance, sink: Sink, tmp_path: Any) -> None:
    log = tmp_path / "access.log"
    running = gateway({**traced(sink), "policies": {"access_log": {"output": str(log)}}}, all=echo)
    running.get("/", SAMPLED)
    (span,) = sink.wait_for_spans(kind="server")
    running.stop()
    (line,) = log.read_text(encoding="utf-8").splitlines()
    assert (json.loads(line)["trace_id"], json.loads(line)["span_id"]) == (TRACE, span.span_id)


def hooked(url: str, sink: Sink, **traces: Any) -> Gateway:
    """A gateway with the service `shop`, whose hooks are to be added."""
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1, telemetry=traced(sink, **traces)["telemetry"])
    gateway.add_route(name="all", prefix="/", service="shop", service_url=url, auth_required=False)
    return gateway


@pytest.mark.parametrize("kind", ["worker", "coroutine", "loop", "pool"])
def test_spans_that_hooks_make_are_in_the_trace(echo: EchoInstance, sink: Sink, kind: str) -> None:
    gateway = hooked(echo.url, sink)
    tracer = trace.get_tracer("shop")

    def look(request: Request) -> None:
        with tracer.start_as_current_span("outer", attributes={"a": 1, "b": ["x"]}):
            assert trace.get_current_span().is_recording()
            with tracer.start_as_current_span("inner") as inner:
                inner.add_event("seen", {"path": request.path})

    async def look_later(request: Request) -> None:
        if kind == "loop":
            import asyncio

            await asyncio.sleep(0)
        look(request)

    if kind in ("worker", "pool"):
        gateway.on_request(blocking=kind == "pool")(look)
    else:
        gateway.on_request()(look_later)
    with running(gateway) as address, Peer.connect(address) as client:
        client.send(f"GET /x HTTP/1.1\r\nHost: a\r\n{SAMPLED}\r\n\r\n".encode())
        assert client.read_answer().status == 200
        (outer,) = sink.wait_for_spans(name="outer")
        (inner,) = sink.wait_for_spans(name="inner")
    (server,) = sink.wait_for_spans(kind="server")
    (hook,) = [span for span in sink.spans if span.name.startswith("hook ")]
    assert (hook.parent_id, outer.parent_id, inner.parent_id) == (server.span_id, hook.span_id, outer.span_id)
    assert {span.trace_id for span in sink.spans} == {TRACE}
    assert outer.attributes == {"a": 1, "b": ["x"]}
    assert inner.events == (("seen", {"path": "/x"}),)


def test_a_hook_around_both_has_two_spans_and_fails_in_one(echo: EchoInstance, sink: Sink) -> None:
    gateway = hooked(echo.url, sink)

    @gateway.middleware
    async def around(request: Request, call_next: CallNext) -> Response:
        with trace.get_tracer("shop").start_as_current_span("before"):
            pass
        await call_next(request)
        with trace.get_tracer("shop").start_as_current_span("after"):
            raise ValueError("not today")

    with running(gateway) as address, Peer.connect(address) as client:
        client.send(f"GET /x HTTP/1.1\r\nHost: a\r\n{SAMPLED}\r\n\r\n".encode())
        assert client.read_answer().status == 500
        (after,) = sink.wait_for_spans(name="after")
    (before,) = sink.wait_for_spans(name="before")
    hooks = {span.span_id: span for span in sink.spans if span.name.startswith("hook ")}
    assert len(hooks) == 2
    assert (hooks[before.parent_id].status, hooks[after.parent_id].status) == ("unset", "error")
    assert after.status == "error"
    assert [name for name, _ in after.events] == ["exception"]


def test_hooks_know_the_trace_and_record_nothing_that_is_not_sampled(echo: EchoInstance, sink: Sink) -> None:
    gateway = hooked(echo.url, sink)
    seen: list[tuple[str | None, str | None, bool]] = []

    @gateway.on_request
    def look(request: Request) -> None:
        with trace.get_tracer("shop").start_as_current_span("made") as span:
            seen.append((request.trace_id, request.traceparent, span.is_recording()))

    with running(gateway) as address, Peer.connect(address) as client:
        for sent in (NOT_SAMPLED, SAMPLED):
            client.send(f"GET /x HTTP/1.1\r\nHost: a\r\n{sent}\r\n\r\n".encode())
            assert client.read_answer().status == 200
        sink.wait_for_spans(name="made")
    assert [(trace_id, recorded) for trace_id, _, recorded in seen] == [(TRACE, False), (TRACE, True)]
    (server,) = sink.wait_for_spans(kind="server")
    assert seen[1][1] == f"00-{TRACE}-{server.span_id}-01"


def test_without_traces_hooks_have_none(echo: EchoInstance) -> None:
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1)
    gateway.add_route(name="all", prefix="/", service="shop", service_url=echo.url, auth_required=False)
    seen: list[tuple[str | None, str | None]] = []

    @gateway.on_request
    def look(request: Request) -> None:
        seen.append((request.trace_id, request.traceparent))

    with running(gateway) as address, Peer.connect(address) as client:
        client.send(f"GET / HTTP/1.1\r\nHost: a\r\n{SAMPLED}\r\n\r\n".encode())
        assert client.read_answer().status == 200
    assert seen == [(None, None)]
