"""Collectors that are away, slow, refuse, hang, die and come back: no request notices, and every span is counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.instance import RawInstance
from support.load import load
from support.otlp import Accept, Close, Hang, Refuse, Reply, Sink
from support.peer import wait_until
from support.relay import Relay
from support.running import Process, Running

Start = Callable[..., Running]
ALL_WELL = {200: 200}
MADE = 400
"""Spans of 200 exchanges: each has one for itself, and one for its attempt."""


def traced(gateway: Start, instance: RawInstance, endpoint: str, **traces: object) -> Running:
    """A gateway that samples everything."""
    return gateway({"telemetry": {"traces": {"endpoint": endpoint, **traces}}}, all=instance)


def figures(running: Running) -> dict[str, int]:
    """What became of spans, from the start of the gateway: `sent`, and why others were dropped."""
    (traces,) = (one for one in running.gateway.stats()["exports"] if one["signal"] == "traces")
    dropped = {reason: count for reason, count in traces["dropped"] if count}
    return {"sent": traces["sent"], **dropped}


def settled(running: Running, spans: int) -> dict[str, int]:
    """Waits until so many spans are sent or dropped, and gives what became of them."""
    wait_until(lambda: sum(figures(running).values()) >= spans, patience=40)
    found = figures(running)
    assert sum(found.values()) == spans, found
    return found


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(
    "replies",
    [
        [Accept(delay=0.1)],
        [Refuse(503, "0"), Refuse(429, "0"), Accept()],
        [Refuse(503), Accept()],
        [Hang(), Accept()],
        [Close(), Accept()],
    ],
    ids=["slow", "overloaded", "unavailable", "hanging", "closing"],
)
def test_what_passes_costs_no_span(gateway: Start, instance: RawInstance, protocol: str, replies: list[Reply]) -> None:
    with Sink(*replies, protocol=protocol) as sink:
        running = traced(gateway, instance, sink.url, protocol=protocol, timeout="2s")
        assert load(running.address, 200) == ALL_WELL
        assert settled(running, MADE) == {"sent": MADE}
        assert len(sink.spans) == len({span.span_id for span in sink.spans}) == MADE


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("status", [400, 401])
def test_what_is_refused_for_good_is_counted(gateway: Start, instance: RawInstance, protocol: str, status: int) -> None:
    with Sink(Refuse(status), protocol=protocol) as sink:
        running = traced(gateway, instance, sink.url, protocol=protocol)
        assert load(running.address, 200) == ALL_WELL
        assert settled(running, MADE) == {"sent": 0, "refused": MADE}
        sink.answers(Accept())
        assert load(running.address, 200) == ALL_WELL
        assert settled(running, 2 * MADE) == {"sent": MADE, "refused": MADE}
        assert len(sink.spans) == MADE


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_what_is_refused_in_part_is_counted(gateway: Start, instance: RawInstance, protocol: str) -> None:
    with Sink(Accept(rejected=7, message="too old"), Accept(), protocol=protocol) as sink:
        running = traced(gateway, instance, sink.url, protocol=protocol)
        assert load(running.address, 200) == ALL_WELL
        assert settled(running, MADE) == {"sent": MADE - 7, "refused": 7}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_collector_that_dies_in_the_middle_and_comes_back(
    gateway: Start, instance: RawInstance, protocol: str
) -> None:
    with Sink(protocol=protocol) as sink, Relay(sink.port) as way:
        running = traced(gateway, instance, f"http://127.0.0.1:{way.port}", protocol=protocol)
        assert load(running.address, 200, at={50: way.cut, 150: way.mend}) == ALL_WELL
        assert settled(running, MADE) == {"sent": MADE}
        # An export whose answer was cut off is sent again, so a span may come twice, but none is missing.
        assert len({span.span_id for span in sink.spans}) == MADE


def test_a_collector_that_is_not_there(gateway: Start, instance: RawInstance, dead_url: str) -> None:
    running = traced(gateway, instance, dead_url)
    assert load(running.address, 200) == ALL_WELL
    assert figures(running) == {"sent": 0}


def test_one_that_is_away_hinders_no_other_signal(gateway: Start, instance: RawInstance, dead_url: str) -> None:
    with Sink() as sink:
        telemetry = {"traces": dead_url, "logs": sink.url}
        running = gateway({"telemetry": telemetry, "policies": {"access_log": True}}, all=instance)
        assert load(running.address, 200) == ALL_WELL
        sink.wait_for(lambda sink: len(sink.logs) == 200)


def test_what_waits_is_sent_when_the_gateway_stops(gateway: Start, instance: RawInstance) -> None:
    with Sink() as sink:
        running = traced(gateway, instance, sink.url)
        assert load(running.address, 200) == ALL_WELL
        running.stop()
        assert len(sink.spans) == MADE


def test_what_cannot_be_sent_when_the_gateway_stops_is_told(
    gateway_process: Callable[..., Process], instance: RawInstance
) -> None:
    with Sink(Refuse(503)) as sink:
        process = gateway_process({"telemetry": {"traces": sink.url}}, all=instance)
        assert load(process.address, 200) == ALL_WELL
        process.process.terminate()
        assert f"items lost: {MADE}" in process.read_until("lost")
        assert process.wait() == 0


def test_a_stop_does_not_wait_for_a_collector_that_hangs(
    gateway_process: Callable[..., Process], instance: RawInstance
) -> None:
    with Sink(Hang()) as sink:
        process = gateway_process({"telemetry": {"traces": {"endpoint": sink.url, "timeout": "1m"}}}, all=instance)
        assert load(process.address, 200) == ALL_WELL
        sink.wait_for(lambda sink: sink.exports)
        process.process.terminate()
        assert process.wait() == 0


@pytest.mark.parametrize("after", ["elsewhere", "off"])
def test_a_reload_loses_nothing(gateway: Start, instance: RawInstance, after: str) -> None:
    with Sink() as first, Sink() as second:
        running = traced(gateway, instance, first.url)
        telemetry = {"telemetry": {"traces": second.url}} if after == "elsewhere" else {}

        def reload() -> None:
            running.apply(telemetry, all=instance)

        assert load(running.address, 200, at={100: reload}) == ALL_WELL
        running.stop()
        spans = [*first.spans, *second.spans]
        assert first.spans
        if after == "elsewhere":
            assert len(spans) == len({span.span_id for span in spans}) == MADE


def test_reloads_that_change_nothing_of_it_lose_nothing_either(gateway: Start, instance: RawInstance) -> None:
    with Sink(Refuse(503, "0"), Accept()) as sink:
        running = traced(gateway, instance, sink.url)

        def reload() -> None:
            running.apply({"telemetry": {"traces": {"endpoint": sink.url}}, "via": False}, all=instance)

        assert load(running.address, 200, at=dict.fromkeys((50, 100, 150), reload)) == ALL_WELL
        assert settled(running, MADE) == {"sent": MADE}
