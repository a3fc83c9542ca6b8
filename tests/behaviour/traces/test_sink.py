"""The sink that other tests look into, seen by OpenTelemetry's own exporter and by gRPC's own client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from support.otlp import Accept, Refuse, Sink
from support.tls import Authority


def send(sink: Sink, **options: Any) -> None:
    """Two spans, the outer one last."""
    exporter = OTLPSpanExporter(f"{sink.url}/v1/traces", **options)
    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("outer", attributes={"a": 1}), tracer.start_as_current_span("inner") as inner:
        inner.add_event("happened", {"list": ["x", "y"]})
    provider.shutdown()


def test_spans_as_they_were_made() -> None:
    with Sink() as sink:
        send(sink, headers={"x-key": "k"})
        (inner,), (outer,) = sink.wait_for_spans(name="inner"), sink.wait_for_spans(name="outer")
        assert (inner.parent_id, inner.trace_id) == (outer.span_id, outer.trace_id)
        assert (outer.attributes, outer.kind, outer.status) == ({"a": 1}, "internal", "unset")
        assert inner.events == (("happened", {"list": ["x", "y"]}),)
        assert outer.resource["service.name"] == "shop"
        assert sink.exports[0].fields["x-key"] == "k"


def test_tls_and_gzip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # They are asked first, whatever file the exporter was given.
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    authority = Authority(tmp_path)
    with Sink(tls=authority.issue("sink", "localhost")) as sink:
        send(sink, certificate_file=str(authority.file), compression=Compression.Gzip)
        assert sink.wait_for_spans(2)
        assert sink.exports[0].fields["content-encoding"] == "gzip"


@pytest.mark.parametrize("over_tls", [False, True])
def test_grpc(over_tls: bool, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name="one", trace_id=b"t" * 16, span_id=b"s" * 8)
    span.start_time_unix_nano, span.end_time_unix_nano = 1, 2
    tls = authority.issue("sink", "localhost") if over_tls else None
    with Sink(Refuse(503, "1.5"), Accept(rejected=3, message="no"), protocol="grpc", tls=tls) as sink:
        address = sink.url.partition("://")[2]
        trust = grpc.ssl_channel_credentials(authority.file.read_bytes())
        with grpc.secure_channel(address, trust) if over_tls else grpc.insecure_channel(address) as channel:
            stub = TraceServiceStub(channel)
            with pytest.raises(grpc.RpcError) as refused:
                stub.Export(request)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            details = Status.FromString(dict(refused.value.trailing_metadata())["grpc-status-details-bin"])
            delay = RetryInfo()
            assert details.details[0].Unpack(delay)
            assert (delay.retry_delay.seconds, delay.retry_delay.nanos) == (1, 500_000_000)
            answer = stub.Export(request, metadata=(("x-key", "k"),))
            assert (answer.partial_success.rejected_spans, answer.partial_success.error_message) == (3, "no")
        assert sink.exports[1].fields["x-key"] == "k"
        assert [one.name for one in sink.spans] == ["one"]


def test_what_otlp_does_not_allow_fails() -> None:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"short", span_id=b"s" * 8)
    sink = Sink(protocol="grpc")
    with pytest.raises(AssertionError, match="73686f7274"), sink, grpc.insecure_channel(sink.url[7:]) as channel:
        TraceServiceStub(channel).Export(request)
