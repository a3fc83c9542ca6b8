"""How `pylae trace` tells what has become of an exchange. What a trace says is tested where it is made."""

from __future__ import annotations

from typing import Any

import click
import pytest

from pylae.cli import traced
from pylae.config.builder import ConfigBuilder

Document = dict[str, Any]

EXCHANGE: Document = {
    "timestamp": "2026-11-30T10:00:00.000Z",
    "request_id": "abc",
    "method": "GET",
    "path": "/orders/7",
    "query": "x=1",
    "status": 200,
    "code": None,
    "user": "7",
    "bytes_in": 0,
    "bytes_out": 120,
    "complete": True,
    "duration": 0.0312,
    "protocol": "HTTP/1.1",
}
TIMES: Document = {"seconds": 2.1e-06, "waited": 0.0, "response_seconds": 0.0, "body_seconds": 0.0}
TRACE: Document = {
    "id": "0" * 32,
    "trace_id": None,
    "exchange": EXCHANGE,
    "request_headers": [["Authorization", "***"]],
    "outcome": "route",
    "detail": "",
    "client": "127.0.0.1",
    "route": {"index": 0, "name": "gone", "params": {}},
    "considered": [],
    "early": [{"name": "ip_access", "decision": "passed", **TIMES}],
    "policies": [
        {"name": "cors", "decision": "passed", **TIMES},
        {"name": "rate_limit", "decision": "passed", **TIMES, "waited": 0.0015},
        {"name": "compression", "decision": "passed", **TIMES, "response_seconds": 1e-6, "body_seconds": 6e-05},
    ],
    "service": {
        "name": "orders",
        "balancer": "round_robin",
        "how": "picked http://10.0.0.7:8000",
        "instances": [{"url": "http://10.0.0.7:8000", "weight": 1, "note": ""}],
    },
    "upstream_path": "/7",
    "upstream_host": "10.0.0.7:8000",
    "upstream_headers": [],
    "response_headers": [["Content-Type", "text/plain"]],
    "cache": "miss",
    "steps": [
        {"kind": "policy", "name": "cors", "part": "request", "outcome": "passed", "at": 0.0, "seconds": 2e-07},
        {"kind": "wait", "name": "rate_limit", "at": 1e-05, "seconds": 0.0015},
        {
            "kind": "attempt",
            "name": "http://10.0.0.7:8000",
            "number": 1,
            "connection": "kept",
            "outcome": "status 200",
            "at": 0.002,
            "seconds": 0.029,
        },
        {"kind": "hook", "name": "shop.brand", "part": "response", "failed": True, "at": 0.031, "seconds": 1e-05},
        {"kind": "cache", "name": "cache", "outcome": "miss", "at": 0.031, "seconds": 0.0},
        {"kind": "policy", "name": "cors", "part": "response", "outcome": "passed", "at": 0.0311, "seconds": 1e-07},
    ],
    "missed": 2,
}


def told(everything: bool = False, **changes: Any) -> list[str]:
    return [click.unstyle(line).rstrip() for line in traced.lines({**TRACE, **changes}, everything)]


def test_all_of_an_exchange() -> None:
    lines = told()
    assert lines[0] == "GET /orders/7?x=1 from 127.0.0.1  200 in 31.2 ms"
    assert lines[1] == f"  request abc, trace {'0' * 32}"
    words = [line.split() for line in lines]
    assert ["ip_access", "passed", "2.1", "µs"] in words
    assert ["rate_limit", "passed", "2.1", "µs", "waited", "1.5", "ms"] in words
    assert ["compression", "passed", "2.1", "µs", "on", "the", "answer", "61", "µs"] in words
    assert "  round_robin: picked http://10.0.0.7:8000" in lines
    assert "  sent GET /7 to the host 10.0.0.7:8000" in lines
    steps = words[lines.index("Step by step") + 2 :]
    assert steps[0] == ["0", "ns", "200", "ns", "policy", "cors", "passed"]
    assert steps[1] == ["10", "µs", "1.5", "ms", "wait", "rate_limit"]
    assert steps[2][4:] == [
        *("attempt", "http://10.0.0.7:8000", "attempt", "1,", "kept", "connection,", "status", "200")
    ]
    assert steps[3][4:] == ["hook", "shop.brand", "with", "the", "response,", "failed"]
    assert steps[5][-4:] == ["with", "the", "answer,", "passed"]
    assert lines[-1] == "  … and 2 more"
    assert "Fields of the request" not in lines


def test_fields_only_if_asked_for() -> None:
    lines = told(everything=True)
    assert "  Authorization: ***" in lines
    assert "  Content-Type: text/plain" in lines


def test_a_request_that_no_route_takes() -> None:
    nothing = {"route": None, "policies": [], "early": [], "service": None, "cache": None, "steps": [], "missed": 0}
    lines = told(outcome="not_found", exchange={**EXCHANGE, "status": 404, "code": "no_route"}, **nothing)
    assert lines[0].endswith("404 (no_route) in 31.2 ms")
    assert "  404: no route matches" in lines


def test_a_route_that_is_gone_has_no_places() -> None:
    builder = ConfigBuilder({})
    trace = {**TRACE, "considered": [{"route": "gone", "verdict": "chosen", "by": None, "index": 0}]}
    completed = traced.complete(trace, builder.plan(), builder)
    assert completed["considered"] == []
    assert "  route gone, which is no longer in force as it was" in told()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 ns"), (4.1e-08, "41 ns"), (1e-06, "1 µs"), (0.0123, "12.3 ms"), (1.0, "1 s"), (61.0, "61 s")],
)
def test_times_are_brief(seconds: float, text: str) -> None:
    assert traced.brief(seconds) == text
