"""Metrics over OTLP are those of `/metrics`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.instance import EchoInstance
from support.otlp import Sink
from support.running import Running

Start = Callable[..., Running]
KINDS = {"counter": "sum", "gauge": "gauge", "histogram": "histogram"}
MOVING = ("process_", "pylae_start_time", "pylae_overload", "pylae_export", "pylae_connections", "pylae_config")


def fields(labels: dict[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in labels.items() if name != "le")


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_every_metric_of_the_page_is_sent(gateway: Start, echo: EchoInstance, protocol: str) -> None:
    with Sink(protocol=protocol) as sink:
        metrics = {"endpoint": sink.url, "protocol": protocol, "interval": "1s"}
        running = gateway({"telemetry": {"metrics": metrics}}, all=echo)
        for path in ("/a", "/b"):
            assert running.get(path).status == 200
        sink.wait_for(lambda sink: [one for one in sink.points if one.name == "pylae_requests_total"])
        sink.clear()
        sink.wait_for(lambda sink: [one for one in sink.points if one.name == "pylae_requests_total"])
        page = list(text_string_to_metric_families(running.gateway.metrics()))
        points = {(one.name, frozenset(one.attributes.items())): one for one in list(sink.points)}
        listed = 0
        for family in page:
            for sample in family.samples:
                if sample.name.endswith(("_bucket", "_sum")) and family.type == "histogram":
                    continue
                name = family.name if family.type == "histogram" else sample.name
                point = points[name, fields(sample.labels)]
                listed += 1
                assert point.kind == KINDS[family.type]
                assert point.description == family.documentation
                assert 0 < point.start < point.time
                if name.startswith(MOVING) or name == "pylae_service_token_expires_seconds":
                    continue
                assert (point.count if family.type == "histogram" else point.value) == sample.value, name
        assert listed == len(points)
        requests = points[
            "pylae_request_duration_seconds", frozenset({("route", "all"), ("service", "all"), ("method", "GET")})
        ]
        assert (requests.count, sum(requests.buckets), requests.unit) == (2, 2, "s")
        assert len(requests.buckets) == len(requests.bounds) + 1
        counter = points[
            "pylae_requests_total",
            frozenset({("route", "all"), ("service", "all"), ("method", "GET"), ("status", "2xx")}),
        ]
        assert (counter.value, counter.monotonic, counter.temporality) == (2, True, 2)


def test_histograms_lead_to_traces(gateway: Start, echo: EchoInstance) -> None:
    with Sink() as sink:
        running = gateway(
            {"telemetry": {"metrics": {"endpoint": sink.url, "interval": "1h"}, "traces": sink.url}}, all=echo
        )
        running.get()
        (span,) = sink.wait_for_spans(kind="server")
        running.stop()
        (duration,) = [one for one in sink.points if one.name == "pylae_request_duration_seconds"]
        ((trace_id, span_id, value),) = duration.exemplars
        assert (trace_id, span_id) == (span.trace_id, span.span_id)
        assert duration.total == pytest.approx(value)


def test_the_last_figures_are_sent_at_the_end(gateway: Start, echo: EchoInstance) -> None:
    with Sink() as sink:
        running = gateway({"telemetry": {"metrics": {"endpoint": sink.url, "interval": "1h"}}}, all=echo)
        running.get()
        assert not sink.points
        running.stop()
        (requests,) = [one for one in sink.points if one.name == "pylae_requests_total"]
        assert requests.value == 1
