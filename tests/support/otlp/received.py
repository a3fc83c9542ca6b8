"""What has arrived over OTLP, as tests compare it: plain Python values instead of messages of Protobuf."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

Attributes = dict[str, Any]

REQUESTS: dict[str, type[Message]] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
"""What an export of each signal is."""

STATUSES = {0: "unset", 1: "ok", 2: "error"}


@dataclass(frozen=True)
class Export:
    """One export, taken or not."""

    signal: str
    """`traces`, `metrics` or `logs`."""
    protocol: str
    """`http` or `grpc`."""
    path: str
    fields: dict[str, str]
    """Header fields, or metadata; names in lower case."""
    size: int
    """Bytes of the body as it came. Over gRPC after decompression."""
    message: Any
    """The request, of the type in `REQUESTS`."""
    taken: bool


@dataclass(frozen=True)
class Span:
    """A span."""

    name: str
    kind: str
    """`internal`, `server`, `client`, `producer` or `consumer`."""
    trace_id: str
    span_id: str
    parent_id: str
    """Span id of the parent; empty for a root."""
    start: int
    """Nanoseconds since 1970."""
    end: int
    flags: int
    """Bits 0 to 7 are the trace flags of the context; 8 and 9 say whether the parent is remote."""
    trace_state: str
    attributes: Attributes
    status: str
    """`unset`, `ok` or `error`."""
    status_message: str
    events: tuple[tuple[str, Attributes], ...]
    links: tuple[tuple[str, str, Attributes], ...]
    """Trace id, span id and attributes of each."""
    resource: Attributes = field(repr=False)
    scope: str = field(repr=False)


@dataclass(frozen=True)
class Point:
    """A point of a metric."""

    name: str
    kind: str
    """`gauge`, `sum`, `histogram`, `exponential_histogram` or `summary`."""
    unit: str
    description: str
    attributes: Attributes
    value: float | None
    """Of a gauge or a sum."""
    count: int | None
    """Of a histogram."""
    total: float | None
    """Sum of a histogram."""
    buckets: tuple[int, ...]
    bounds: tuple[float, ...]
    start: int
    time: int
    monotonic: bool
    temporality: int
    """1: delta, 2: cumulative, 0: it has none."""
    exemplars: tuple[tuple[str, str, float], ...]
    """Trace id, span id and value of each."""
    resource: Attributes = field(repr=False)


@dataclass(frozen=True)
class LogRecord:
    """A log record."""

    body: Any
    attributes: Attributes
    severity: int
    severity_text: str
    event: str
    """Name of the event (`event_name`); empty if it is none."""
    time: int
    observed: int
    trace_id: str
    span_id: str
    flags: int
    resource: Attributes = field(repr=False)


def spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    """All spans of an export."""
    for part in request.resource_spans:
        resource = attributes(part.resource.attributes)
        for scope in part.scope_spans:
            for one in scope.spans:
                yield _span(one, resource, scope.scope.name)


def _span(one: trace_pb2.Span, resource: Attributes, scope: str) -> Span:
    return Span(
        name=one.name,
        kind=trace_pb2.Span.SpanKind.Name(one.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=one.trace_id.hex(),
        span_id=one.span_id.hex(),
        parent_id=one.parent_span_id.hex(),
        start=one.start_time_unix_nano,
        end=one.end_time_unix_nano,
        flags=one.flags,
        trace_state=one.trace_state,
        attributes=attributes(one.attributes),
        status=STATUSES[one.status.code],
        status_message=one.status.message,
        events=tuple((event.name, attributes(event.attributes)) for event in one.events),
        links=tuple((link.trace_id.hex(), link.span_id.hex(), attributes(link.attributes)) for link in one.links),
        resource=resource,
        scope=scope,
    )


def points(request: ExportMetricsServiceRequest) -> Iterator[Point]:
    """All points of an export."""
    for part in request.resource_metrics:
        resource = attributes(part.resource.attributes)
        for scope in part.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                data = getattr(metric, kind)
                for one in data.data_points:
                    yield _point(metric, kind, data, one, resource)


def _point(metric: Any, kind: str, data: Any, one: Any, resource: Attributes) -> Point:
    is_number = kind in ("gauge", "sum")
    return Point(
        name=metric.name,
        kind=kind,
        unit=metric.unit,
        description=metric.description,
        attributes=attributes(one.attributes),
        value=getattr(one, one.WhichOneof("value")) if is_number else None,
        count=None if is_number else one.count,
        total=None if is_number else one.sum,
        buckets=tuple(one.bucket_counts) if kind == "histogram" else (),
        bounds=tuple(one.explicit_bounds) if kind == "histogram" else (),
        start=one.start_time_unix_nano,
        time=one.time_unix_nano,
        monotonic=kind == "sum" and data.is_monotonic,
        temporality=getattr(data, "aggregation_temporality", 0),
        exemplars=tuple(
            (each.trace_id.hex(), each.span_id.hex(), getattr(each, each.WhichOneof("value")))
            for each in getattr(one, "exemplars", ())
        ),
        resource=resource,
    )


def log_records(request: ExportLogsServiceRequest) -> Iterator[LogRecord]:
    """All log records of an export."""
    for part in request.resource_logs:
        resource = attributes(part.resource.attributes)
        for scope in part.scope_logs:
            for one in scope.log_records:
                yield LogRecord(
                    body=value(one.body),
                    attributes=attributes(one.attributes),
                    severity=one.severity_number,
                    severity_text=one.severity_text,
                    event=one.event_name,
                    time=one.time_unix_nano,
                    observed=one.observed_time_unix_nano,
                    trace_id=one.trace_id.hex(),
                    span_id=one.span_id.hex(),
                    flags=one.flags,
                    resource=resource,
                )


def attributes(pairs: Iterable[common_pb2.KeyValue]) -> Attributes:
    """Attributes by key."""
    return {pair.key: value(pair.value) for pair in pairs}


def value(given: common_pb2.AnyValue) -> Any:
    """A value as Python has it."""
    kind = given.WhichOneof("value")
    match kind:
        case None:
            return None
        case "array_value":
            return [value(each) for each in given.array_value.values]
        case "kvlist_value":
            return attributes(given.kvlist_value.values)
    return getattr(given, kind)


def malformed(request: Message) -> Iterator[str]:
    """What a collector would choke on, or silently ignore: fields that OTLP does not have, ids of a wrong length,
    attributes that are there twice."""
    for message in _walk(request):
        name = message.DESCRIPTOR.name
        for unknown in UnknownFieldSet(message):
            yield f"{name} has an unknown field {unknown.field_number}"
        for field_, length in (("trace_id", 16), ("span_id", 8), ("parent_span_id", 8)):
            found = getattr(message, field_, b"")
            is_required = field_ in ("trace_id", "span_id") and name in ("Span", "Link")
            if (found or is_required) and (len(found) != length or not any(found)):
                yield f"{name} has the {field_} {found.hex()!r}"
        keys = [pair.key for pair in getattr(message, "attributes", ())]
        if len(set(keys)) != len(keys):
            yield f"{name} has attributes twice: {keys}"
        if name == "Span" and not (0 < message.start_time_unix_nano <= message.end_time_unix_nano):
            yield f"Span ends before it starts: {message}"


def _walk(message: Message) -> Iterator[Message]:
    yield message
    for description, content in message.ListFields():
        if description.type == description.TYPE_MESSAGE:
            for each in [content] if isinstance(content, Message) else content:
                yield from _walk(each)
