"""What a gateway keeps in memory for a collector that takes nothing has a bound, and what is beyond it is counted."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import pytest

from support.instance import EchoInstance
from support.otlp import Accept, Hang, Refuse, Sink
from support.peer import wait_until
from support.relay import Relay
from support.running import Process

COUNT = 20_000
"""More exchanges than there is room for: each has 2 KB of spans, and 8 MiB may wait."""


class Counters:
    """What became of spans, as the metrics say it."""

    def __init__(self, process: Process, state: Path) -> None:
        self._address = process.said("admin API on").split()[-1]
        self._token = (state / "admin-token").read_text().strip()

    def read(self) -> dict[str, int]:
        """`sent`, and the reasons for which others were dropped."""
        fields = {"Authorization": f"Bearer {self._token}"}
        text = httpx.get(f"http://{self._address}/metrics", headers=fields, timeout=30, verify=False).text
        found = re.findall(r'^pylae_export_dropped_total\{signal="traces",reason="(\w+)"\} (\d+)$', text, re.MULTILINE)
        sent = re.search(r'^pylae_export_items_total\{signal="traces"\} (\d+)$', text, re.MULTILINE)
        assert sent, text
        return {"sent": int(sent[1]), **{reason: int(count) for reason, count in found}}

    def settled(self) -> int:
        """How many do not wait any more."""
        return sum(self.read().values())


def exchanges(process: Process, count: int) -> list[float]:
    """So many exchanges whose spans are long, one after the other and all answered 200; seconds that each took."""
    request = f"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: {'a' * 1000}\r\n\r\n".encode()
    took = []
    with process.connect() as peer:
        for _ in range(count):
            began = time.perf_counter()
            peer.send(request)
            assert peer.read_answer().status == 200
            took.append(time.perf_counter() - began)
            peer.forget()
    return took


def p99(took: Sequence[float]) -> str:
    """For people: no test passes or fails by a time."""
    return f"{sorted(took)[len(took) * 99 // 100] * 1e6:.0f} µs"


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("fault", ["away", "slow", "refusing", "hanging"])
def test_memory_is_bounded_and_spans_add_up_whatever_the_collector_does(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path, protocol: str, fault: str
) -> None:
    replies = {
        "away": Accept(),
        "slow": Accept(delay=2),
        "refusing": Refuse(503),
        "hanging": Hang(),
    }
    with Sink(protocol=protocol) as sink, Relay(sink.port) as way:
        traces = {"endpoint": f"http://127.0.0.1:{way.port}", "protocol": protocol, "timeout": "5s"}
        settings = {"telemetry": {"traces": traces}, "admin": "127.0.0.1:0", "state": str(tmp_path / "state")}
        process = gateway_process(settings, all=echo)
        counters = Counters(process, tmp_path / "state")
        well = exchanges(process, COUNT)
        wait_until(lambda: counters.settled() == 2 * COUNT, patience=60)
        before = process.memory
        sink.answers(replies[fault])
        if fault == "away":
            way.cut()
        ill = exchanges(process, COUNT)
        print(f"{protocol}, {fault}: p99 {p99(ill)}, {p99(well)} before; {process.peak_memory - before >> 10} KiB more")
        assert process.peak_memory - before < 32 << 20
        sink.answers(Accept())
        way.mend()
        wait_until(lambda: counters.settled() == 4 * COUNT, patience=120)
        found = counters.read()
        print(found)
        assert found["sent"] == len(sink.spans)
        if fault != "slow":
            assert found["queue_full"] > 0
