"""A client and a FastAPI service that are instrumented with OpenTelemetry are in one trace with the gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import fastapi
import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, DEFAULT_ON, Sampler

from support.otlp import Sink, Span
from support.running import Running
from support.servers import uvicorn_instance

Start = Callable[..., Running]


@dataclass
class Stage:
    """An instrumented client, a gateway and an instrumented service that send their spans to one sink."""

    gateway: Running
    sink: Sink

    def ask(self, sampler: Sampler | None) -> None:
        """One request, by a client whose sampler this is; without one it knows nothing of traces."""
        with httpx.Client() as client, tracer(self.sink, "client", sampler or ALWAYS_OFF) as provider:
            if sampler is not None:
                HTTPXClientInstrumentor().instrument_client(client, tracer_provider=provider)
            assert client.get(f"{self.gateway.url}/orders/7").json() == {"order": "7"}

    def spans(self) -> dict[str, list[Span]]:
        """All spans up to now, by the service that they are of."""
        # What comes behind them says that all are here.
        end = f"{len(self.sink.exports):032x}".replace("0", "e")
        self.gateway.get("/end", f"traceparent: 00-{end}-{'1' * 16}-01")
        self.sink.wait_for_spans(trace_id=end, kind="server")
        found: dict[str, list[Span]] = {"client": [], "gateway": [], "service": []}
        for span in self.sink.spans:
            if span.trace_id != end:
                found[span.resource["service.name"]].append(span)
        return found


@contextmanager
def tracer(sink: Sink, name: str, sampler: Sampler) -> Iterator[TracerProvider]:
    """OpenTelemetry's own SDK, which sends each span as it ends."""
    provider = TracerProvider(sampler, Resource({"service.name": name}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{sink.url}/v1/traces")))
    yield provider
    provider.shutdown()


@contextmanager
def stage(gateway: Start, sampler: Sampler, **traces: object) -> Iterator[Stage]:
    """The gateway has these settings of `traces`, the service this sampler."""
    app = fastapi.FastAPI()

    @app.get("/orders/{order}")
    def order(order: str) -> dict[str, str]:
        return {"order": order}

    with Sink() as sink, tracer(sink, "service", sampler) as provider:
        FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, exclude_spans=["receive", "send"])
        with uvicorn_instance(app) as url:
            telemetry = {"service_name": "gateway", "traces": {"endpoint": sink.url, "routes": {"end": 1}, **traces}}
            routes = [
                {"name": "end", "path": "/end", "static_response": {"status": 204}},
                {"name": "all", "prefix": "/", "service": "shop"},
            ]
            yield Stage(gateway({"telemetry": telemetry, "routes": routes}, shop=url), sink)


def test_one_trace_from_the_client_to_the_service(gateway: Start) -> None:
    with stage(gateway, DEFAULT_ON, ratio=0) as three:
        three.ask(ALWAYS_ON)
        spans = three.spans()
        (client,), (service,) = spans["client"], spans["service"]
        exchange, attempt = sorted(spans["gateway"], key=lambda span: span.kind, reverse=True)
        chain = [client, exchange, attempt, service]
        assert [span.kind for span in chain] == ["client", "server", "client", "server"]
        assert [span.parent_id for span in chain] == ["", *(span.span_id for span in chain[:-1])]
        assert len({span.trace_id for span in chain}) == 1
        # They are on one machine, so their times fit too. A server may end its span after its answer has arrived.
        assert sorted(chain, key=lambda span: span.start) == chain
        assert service.start < attempt.end <= exchange.end
        assert exchange.start < client.end


def test_the_gateway_samples_for_a_client_that_knows_nothing_of_traces(gateway: Start) -> None:
    with stage(gateway, DEFAULT_ON, ratio=1) as three:
        three.ask(None)
        spans = three.spans()
        (service,) = spans["service"]
        exchange, attempt = sorted(spans["gateway"], key=lambda span: span.kind, reverse=True)
        assert (exchange.parent_id, attempt.parent_id, service.parent_id) == ("", exchange.span_id, attempt.span_id)
        assert exchange.trace_id == service.trace_id


@pytest.mark.parametrize(("client", "ratio"), [(ALWAYS_OFF, 1), (None, 0)])
def test_nobody_sends_what_the_first_has_not_sampled(gateway: Start, client: Sampler | None, ratio: float) -> None:
    with stage(gateway, DEFAULT_ON, ratio=ratio) as three:
        three.ask(client)
        assert three.spans() == {"client": [], "gateway": [], "service": []}


@pytest.mark.parametrize(("client", "ratio"), [(ALWAYS_OFF, 1), (None, 0)])
def test_a_service_that_samples_all_the_same_is_in_the_trace(
    gateway: Start, client: Sampler | None, ratio: float
) -> None:
    with stage(gateway, ALWAYS_ON, ratio=ratio) as three:
        three.ask(client)
        spans = three.spans()
        (service,) = spans["service"]
        assert not spans["client"]
        assert not spans["gateway"]
        # The parent is a span that the gateway has not sent.
        assert service.parent_id


def test_a_client_that_is_not_trusted_with_the_decision_is_in_the_trace_all_the_same(gateway: Start) -> None:
    with stage(gateway, DEFAULT_ON, ratio=0, parent="ignore") as three:
        three.ask(ALWAYS_ON)
        spans = three.spans()
        assert len(spans["client"]) == 1
        assert spans["gateway"] == spans["service"] == []
