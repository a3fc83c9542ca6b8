"""What a gateway sends is taken by a real OpenTelemetry collector, which passes it on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.collector import Collector
from support.instance import RawInstance
from support.otlp import Sink
from support.running import Running
from support.tls import Authority

pytestmark = pytest.mark.long  # its program is built by `make test-long`


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("over_tls", [False, True])
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_all_three_signals(
    gateway: Callable[..., Running],
    instance: RawInstance,
    tmp_path: Path,
    protocol: str,
    over_tls: bool,
    compression: str,
) -> None:
    authority = Authority(tmp_path)
    tls = authority.issue("collector", "localhost") if over_tls else None
    with Sink() as sink, Collector(tmp_path, sink.url, tls) as collector:
        export = {"endpoint": getattr(collector, protocol), "protocol": protocol, "compression": compression}
        if over_tls:
            export["ca"] = str(authority.file)
        telemetry = {"service_name": "edge", "traces": export, "logs": export, "metrics": {**export, "interval": "1s"}}
        running = gateway({"telemetry": telemetry, "policies": {"access_log": True}}, all=instance)
        trace = "0af7651916cd43dd8448eb211c80319c"
        assert running.get("/", f"traceparent: 00-{trace}-b7ad6b7169203331-01").status == 200
        (exchange,) = sink.wait_for_spans(kind="server")
        (attempt,) = sink.wait_for_spans(kind="client")
        assert (exchange.trace_id, exchange.parent_id, attempt.parent_id) == (
            trace,
            "b7ad6b7169203331",
            exchange.span_id,
        )
        assert exchange.resource["service.name"] == "edge"
        (record,) = sink.wait_for(lambda sink: sink.logs)
        assert (record.trace_id, record.span_id) == (trace, exchange.span_id)
        assert sink.wait_for(lambda sink: [one for one in sink.points if one.name.startswith("pylae") and one.value])
