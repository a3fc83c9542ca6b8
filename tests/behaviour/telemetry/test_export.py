"""How telemetry gets to a collector, and what happens when it does not. Log records stand for all signals."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.exchanges import ask
from support.instance import EchoInstance
from support.otlp import Accept, Close, Hang, Refuse, Sink
from support.peer import wait_until
from support.running import Running
from support.tls import Authority

Start = Callable[..., Running]
LOGGED = {"access_log": {"output": "otlp"}}


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    caplog.set_level(logging.INFO)
    return lambda word: [record.message for record in caplog.records if word in record.message]


def sending(sink: Sink | str, **settings: Any) -> dict[str, Any]:
    endpoint = sink if isinstance(sink, str) else sink.url
    return {"telemetry": {"logs": {"endpoint": endpoint, **settings}}, "policies": LOGGED}


def figure(gateway: Running, sample: str) -> int:
    found = re.search(rf"^{re.escape(sample)} (\d+)$", gateway.gateway.metrics(), re.MULTILINE)
    return int(found[1]) if found else 0


def sent(gateway: Running) -> int:
    return figure(gateway, 'pylae_export_items_total{signal="logs"}')


def dropped(gateway: Running, reason: str) -> int:
    return figure(gateway, f'pylae_export_dropped_total{{signal="logs",reason="{reason}"}}')


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("over_tls", [False, True])
def test_a_collector_takes_it(
    gateway: Start, echo: EchoInstance, tmp_path: Path, over_tls: bool, protocol: str, compression: str
) -> None:
    authority = Authority(tmp_path)
    tls = authority.issue("collector", "localhost") if over_tls else None
    with Sink(protocol=protocol, tls=tls) as sink:
        settings = {"protocol": protocol, "compression": compression, "headers": {"Authorization": "Bearer s3cret"}}
        if over_tls:
            settings["ca"] = str(authority.file)
        running = gateway(sending(sink, **settings), all=echo)
        for path in ("/a", "/b"):
            assert running.get(path).status == 200
        sink.wait_for(lambda sink: len(sink.logs) == 2)
        assert sorted(record.attributes["url.path"] for record in sink.logs) == ["/a", "/b"]
        (export, *_) = sink.exports
        assert export.fields["authorization"] == "Bearer s3cret"
        assert export.fields["user-agent"].startswith("pylae/")
        if protocol == "http":
            assert export.path == "/v1/logs"
            assert export.fields.get("content-encoding", "none") == compression
        wait_until(lambda: sent(running) == 2)
        assert "s3cret" not in running.gateway.metrics()


def test_what_all_items_say_of_the_gateway(gateway: Start, echo: EchoInstance) -> None:
    attributes = {"deployment.environment.name": "test", "host.name": "named"}
    with Sink() as sink:
        telemetry = {"service_name": "shop", "attributes": attributes, "logs": sink.url}
        running = gateway({"telemetry": telemetry, "policies": LOGGED}, all=echo)
        running.get()
        (record,) = sink.wait_for(lambda sink: sink.logs)
        said = record.resource
        assert {**said, "service.name": "shop", **attributes} == said
        assert said["telemetry.sdk.language"] == "rust"
        assert re.fullmatch(
            r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", said["service.instance.id"]
        )


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("reply", [Refuse(503, retry_after="0"), Refuse(429, retry_after="0"), Close()])
def test_what_may_pass_is_tried_again(
    gateway: Start, echo: EchoInstance, told: Callable[[str], list[str]], protocol: str, reply: Any
) -> None:
    with Sink(reply, Accept(), protocol=protocol) as sink:
        running = gateway(sending(sink, protocol=protocol), all=echo)
        running.get("/a")
        sink.wait_for(lambda sink: sink.logs)
        assert len(sink.logs) == 1
        wait_until(lambda: sent(running) == 1)
        assert figure(running, 'pylae_export_failures_total{signal="logs"}') in (0, 1)
        wait_until(lambda: len(told("cannot be sent to")) == len(told("are sent to")))


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_what_a_collector_refuses_is_not_sent_again(
    gateway: Start, echo: EchoInstance, told: Callable[[str], list[str]], protocol: str
) -> None:
    with Sink(Refuse(401, message="no such tenant"), Accept(), protocol=protocol) as sink:
        running = gateway(sending(sink, protocol=protocol), all=echo)
        running.get("/a")
        wait_until(lambda: dropped(running, "refused") == 1)
        running.get("/b")
        sink.wait_for(lambda sink: sink.logs)
        assert [record.attributes["url.path"] for record in sink.logs] == ["/b"]
        wait_until(lambda: told("no such tenant"))
        (line,) = told("has refused")
        assert re.search(r"http://127.0.0.1:\d+ has refused 1 items of logs: ", line)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_what_a_collector_takes_in_part_is_counted(
    gateway: Start, echo: EchoInstance, told: Callable[[str], list[str]], protocol: str
) -> None:
    with Sink(Accept(rejected=1, message="too old"), protocol=protocol) as sink:
        running = gateway(sending(sink, protocol=protocol), all=echo)
        running.get("/a")
        wait_until(lambda: dropped(running, "refused") == 1)
        assert sent(running) == 0
        wait_until(lambda: told("has refused 1 items of logs: too old"))


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_collector_that_comes_later_gets_it_all(
    gateway: Start, echo: EchoInstance, told: Callable[[str], list[str]], protocol: str
) -> None:
    with Sink(Refuse(503), protocol=protocol) as sink:
        running = gateway(sending(sink, protocol=protocol), all=echo)
        for _ in range(3):
            assert running.get().status == 200
        wait_until(lambda: told("cannot be sent to"))
        running.get()
        sink.answers(Accept())
        sink.wait_for(lambda sink: len(sink.logs) == 4)
        wait_until(lambda: told("are sent to"))
        assert len(told("cannot be sent to")) == 1
        assert "items lost: 0" in told("are sent to")[0]


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a port that takes connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_collector_that_hangs_is_given_up(
    gateway: Start, echo: EchoInstance, told: Callable[[str], list[str]], protocol: str, nobody: str
) -> None:
    running = gateway(sending(nobody, protocol=protocol, timeout="100ms"), all=echo)
    running.get()
    wait_until(lambda: told("no answer in time"))
    assert running.get().status == 200


def test_a_collector_that_is_not_there_costs_memory_up_to_a_bound(
    gateway: Start, echo: EchoInstance, told: Callable[[str], list[str]]
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = sending(url)
    config["policies"] = {"access_log": {"output": "otlp", "request_headers": ["x-long"]}}
    running = gateway(config, all=echo)
    long = "x-long: " + "y" * 20_000

    def some() -> bool:
        for _ in range(20):
            assert running.get("/", long).status == 200
        return dropped(running, "queue_full") > 0

    wait_until(some)
    assert len(told("cannot be sent to")) == 1


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_stop_sends_what_is_left(gateway: Start, echo: EchoInstance, protocol: str) -> None:
    with Sink(protocol=protocol) as sink:
        running = gateway(sending(sink, protocol=protocol), all=echo)
        for _ in range(5):
            running.get()
        running.stop()
        assert len(sink.logs) == 5


def test_a_stop_waits_for_no_collector_that_hangs(gateway: Start, echo: EchoInstance, nobody: str) -> None:
    running = gateway(sending(nobody, timeout="1m"), all=echo)
    running.get()
    running.stop()


def test_the_same_settings_keep_the_connection(gateway: Start, echo: EchoInstance) -> None:
    with Sink(protocol="http") as sink:
        running = gateway(sending(sink), all=echo)
        running.get("/a")
        sink.wait_for(lambda sink: len(sink.logs) == 1)
        running.apply({**sending(sink), "via": False}, all=echo)
        running.get("/b")
        sink.wait_for(lambda sink: len(sink.logs) == 2)
        wait_until(lambda: sent(running) == 2)


def test_what_one_collector_could_not_take_goes_to_the_next(gateway: Start, echo: EchoInstance) -> None:
    with Sink(Refuse(503)) as first, Sink() as second:
        running = gateway(sending(first), all=echo)
        running.get("/a")
        first.wait_for(lambda sink: sink.exports)
        running.get("/b")
        running.apply(sending(second), all=echo)
        running.get("/c")
        second.wait_for(lambda sink: len(sink.logs) == 3)
        assert sorted(record.attributes["url.path"] for record in second.logs) == ["/a", "/b", "/c"]
        assert dropped(running, "unavailable") == 0


def test_without_telemetry_nothing_is_sent(gateway: Start, echo: EchoInstance) -> None:
    with Sink() as sink:
        running = gateway(sending(sink), all=echo)
        running.get("/a")
        sink.wait_for(lambda sink: len(sink.logs) == 1)
        running.apply("policies: {access_log: {output: /dev/null}}", all=echo)
        assert ask(running.address, "/b").status == 200
        running.stop()
        assert [record.attributes["url.path"] for record in sink.logs] == ["/a"]


def test_hanging_calls_end_with_the_sink(gateway: Start, echo: EchoInstance) -> None:
    with Sink(Hang(), Accept()) as sink:
        running = gateway(sending(sink, timeout="200ms"), all=echo)
        running.get("/a")
        sink.wait_for(lambda sink: sink.logs)
        wait_until(lambda: sent(running) == 1)
