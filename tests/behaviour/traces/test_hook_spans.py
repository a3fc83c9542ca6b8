"""What hooks do with the API of OpenTelemetry harms no request, whatever they do with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import Link, Status, StatusCode

from pylae import Gateway, Request
from support.hooked import running
from support.instance import EchoInstance
from support.otlp import Sink, Span
from support.peer import Peer

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Where spans go."""
    with Sink() as sink:
        yield sink


def spans_of(
    sink: Sink, echo: EchoInstance, hook: Callable[[Request], Any], afterwards: Callable[[], None] = lambda: None
) -> list[Span]:
    """The spans of an exchange with this hook, which is answered 200; those of the gateway itself are left out."""
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1, telemetry={"traces": sink.url})
    gateway.add_route(name="all", prefix="/", service="shop", service_url=echo.url, auth_required=False)
    gateway.on_request(hook)
    with running(gateway) as address, Peer.connect(address) as client:
        client.send(f"GET / HTTP/1.1\r\nHost: a\r\ntraceparent: 00-{TRACE}-{'1' * 16}-01\r\n\r\n".encode())
        assert client.read_answer().status == 200
        sink.wait_for_spans(kind="server")
        afterwards()
    own = {"client", "server"}
    return [span for span in sink.spans if span.kind not in own and not span.name.startswith("hook ")]


class Odd:
    """No value of OpenTelemetry."""

    def __str__(self) -> str:
        raise ValueError("no text")


VALUES = {
    "surrogate": "\ud83d",
    "bytes": b"\xff",
    "none": None,
    "large": 1 << 70,
    "small": -(1 << 70),
    "nan": float("nan"),
    "mapping": {"a": 1},
    "mixed": ["\udc80", 1, None],
    "nested": [[[[1]]]],
    "odd": Odd(),
    "odds": [Odd()],
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_values_of_every_kind(sink: Sink, echo: EchoInstance, value: Any) -> None:
    def hook(_: Request) -> None:
        with trace.get_tracer("t").start_as_current_span("made", attributes={"value": value, "k\udc80": 1}) as span:
            span.add_event("said", {"value": value})
            span.add_event("half \ud83d")

    (made,) = spans_of(sink, echo, hook)
    assert made.name == "made"


def test_names_and_status_that_cannot_be_encoded(sink: Sink, echo: EchoInstance) -> None:
    def hook(_: Request) -> None:
        span = trace.get_tracer("t").start_span("half \ud83d")
        span.record_exception(ValueError("\udc80"))
        span.set_status(Status(StatusCode.ERROR, "\udc80"))
        span.add_link(span.get_span_context())
        span.end()

    (made,) = spans_of(sink, echo, hook)
    assert (made.name, made.status) == ("half ?", "error")


def test_more_than_there_is_room_for(sink: Sink, echo: EchoInstance) -> None:
    def hook(_: Request) -> None:
        tracer = trace.get_tracer("t")
        for number in range(2000):
            with tracer.start_as_current_span(f"s{number}", links=[Link(trace.INVALID_SPAN_CONTEXT)]) as span:
                span.set_attribute("long", "x" * 100_000)
                for event in range(200):
                    span.add_event(f"e{event}")

    made = spans_of(sink, echo, hook)
    assert 0 < len(made) < 2000
    assert sum(len(span.events) for span in made) < 2000 * 200


def test_functions_that_are_spans(sink: Sink, echo: EchoInstance) -> None:
    tracer = trace.get_tracer("t")

    @tracer.start_as_current_span("now")
    def look() -> None:
        trace.get_current_span().set_attribute("n", 1)

    @tracer.start_as_current_span("later")
    async def wait() -> None:
        await asyncio.sleep(0)
        trace.get_current_span().set_attribute("n", 2)

    async def hook(_: Request) -> None:
        look()
        await wait()

    now, later = spans_of(sink, echo, hook)
    assert (now.name, now.attributes["n"], later.name, later.attributes["n"]) == ("now", 1, "later", 2)


def test_a_span_that_ends_after_its_exchange(sink: Sink, echo: EchoInstance) -> None:
    kept: list[trace.Span] = []

    def hook(_: Request) -> None:
        kept.append(trace.get_tracer("t").start_span("late"))

    # What is over has been sent, so it is left out.
    assert spans_of(sink, echo, hook, lambda: kept.pop().end()) == []
