"""The access log as log records of OTLP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.instance import EchoInstance
from support.otlp import Sink
from support.running import Running

Start = Callable[..., Running]


def test_a_line_is_the_body_of_a_record(gateway: Start, echo: EchoInstance, tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    with Sink() as sink:
        config = {"telemetry": {"logs": sink.url}, "policies": {"access_log": {"output": str(file)}}}
        running = gateway(config, all=echo)
        assert running.get("/a?token=s3cret&b=1", "User-Agent: \xff\xfe").status == 200
        (record,) = sink.wait_for(lambda sink: sink.logs)
        running.stop()
        assert file.read_text(encoding="utf-8").splitlines() == [record.body]
        line = json.loads(record.body)
        assert line["query"] == "token=***&b=1"
        assert record.attributes == {
            "http.request.method": "GET",
            "url.path": "/a",
            "http.response.status_code": 200,
            "client.address": "127.0.0.1",
            "pylae.request_id": line["request_id"],
            "pylae.route": "all",
            "pylae.service": "all",
        }
        assert (record.severity, record.severity_text, record.event) == (9, "INFO", "pylae.access")
        assert 0 < record.time <= record.observed
        assert (record.trace_id, record.span_id) == ("", "")


def test_with_traces_a_record_has_the_ids_of_its_span(gateway: Start, echo: EchoInstance) -> None:
    with Sink() as sink:
        config = {"telemetry": {"logs": sink.url, "traces": sink.url}, "policies": {"access_log": {"output": "otlp"}}}
        running = gateway(config, all=echo)
        running.get("/a", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        (record,) = sink.wait_for(lambda sink: sink.logs)
        (span,) = sink.wait_for_spans(kind="server")
        assert (record.trace_id, record.span_id) == (span.trace_id, span.span_id)
        assert record.trace_id == "0af7651916cd43dd8448eb211c80319c"
        assert json.loads(record.body)["span_id"] == span.span_id
        assert record.flags == 1


def test_failures_are_errors(gateway: Start, echo: EchoInstance) -> None:
    config = {"routes": [{"name": "broken", "path": "/", "static_response": {"status": 503}}]}
    with Sink() as sink:
        running = gateway(
            {**config, "telemetry": {"logs": sink.url}, "policies": {"access_log": {"output": "otlp"}}}, all=echo
        )
        running.get()
        running.get("/nothing")
        sink.wait_for(lambda sink: len(sink.logs) == 2)
        found = {record.attributes["url.path"]: record for record in sink.logs}
        assert found["/"].severity_text == "ERROR"
        assert found["/"].attributes["pylae.route"] == "broken"
        assert found["/nothing"].severity_text == "INFO"
        assert found["/nothing"].attributes["pylae.code"] == "no_route"
        assert "pylae.route" not in found["/nothing"].attributes


@pytest.mark.parametrize("form", ["common", "combined"])
def test_lines_of_other_formats(gateway: Start, echo: EchoInstance, form: str) -> None:
    with Sink() as sink:
        policies = {"access_log": {"output": "otlp", "format": form}}
        running = gateway({"telemetry": {"logs": sink.url}, "policies": policies}, all=echo)
        running.get("/a", 'User-Agent: "\xe9')
        (record,) = sink.wait_for(lambda sink: sink.logs)
        assert '"GET /a HTTP/1.1" 200 ' in record.body
        assert "\n" not in record.body


def test_only_what_the_log_has_is_sent(gateway: Start, echo: EchoInstance) -> None:
    config = {
        "policies": {"access_log": {"output": "otlp", "filter": "request.path != '/a'"}},
        "routes": [
            {"name": "all", "prefix": "/", "service": "all"},
            {"name": "silent", "path": "/c", "service": "all", "access_log": False},
        ],
    }
    with Sink() as sink:
        running = gateway({**config, "telemetry": {"logs": sink.url}}, all=echo)
        for path in ("/a", "/b", "/c"):
            running.get(path)
        running.stop()
        assert [record.attributes["url.path"] for record in sink.logs] == ["/b"]
