"""gRPC through the gateway: real clients and a real server, all four kinds of calls."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from support.h2client import FramePeer
from support.h2servers import H2Connection, H2Instance, Handler, Shop, grpc_instance
from support.running import Running

Start = Callable[..., Running]

CONFIGURATION: dict[str, Any] = {
    "listeners": [{"address": "127.0.0.1:0", "http2": True}],
    "services": {"shop": {"protocol": "http2"}},
}


@pytest.fixture
def shop() -> Shop:
    """What the server has seen."""
    return Shop()


@pytest.fixture
def server(shop: Shop) -> Iterator[str]:
    """Its address."""
    with grpc_instance(shop) as url:
        yield url


class Client:
    """A channel through the gateway."""

    def __init__(self, address: str) -> None:
        # Channels are shared by address otherwise, and so would be what one test has done to them.
        self.channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self.unary = self.channel.unary_unary("/shop.Shop/Unary")
        self.down = self.channel.unary_stream("/shop.Shop/Down")
        self.up = self.channel.stream_unary("/shop.Shop/Up")
        self.both = self.channel.stream_stream("/shop.Shop/Both")
        self.wait = self.channel.unary_unary("/shop.Shop/Wait")
        self.tick = self.channel.unary_stream("/shop.Shop/Tick")
        self.broken = self.channel.unary_unary("/shop.Shop/Break")

    def error(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> grpc.Call:
        """The error that a call ends with."""
        with pytest.raises(grpc.RpcError) as raised:
            result = call(*args, **kwargs)
            if hasattr(result, "__next__"):
                list(result)
        assert isinstance(raised.value, grpc.Call)
        return raised.value


@pytest.fixture
def client(gateway: Start, server: str) -> Iterator[Client]:
    """A client of a gateway with nothing but a route."""
    client = Client(gateway(CONFIGURATION, shop=server).address)
    yield client
    client.channel.close()


def test_unary_with_metadata(client: Client, shop: Shop) -> None:
    answer, call = client.unary.with_call(b"abc", metadata=(("x-who", "ada"), ("x-raw-bin", b"\x00\x01\xff")))
    assert answer == b"cba"
    assert ("x-first", "1") in call.initial_metadata()
    assert ("x-first-bin", b"\x00\xff") in call.initial_metadata()
    assert ("x-last", "2") in call.trailing_metadata()
    assert call.code() == grpc.StatusCode.OK
    assert shop.metadata[0]["x-who"] == "ada"
    assert shop.metadata[0]["x-raw-bin"] == b"\x00\x01\xff"
    assert "x-request-id" in shop.metadata[0]


def test_streams_of_every_kind(client: Client) -> None:
    assert list(client.down(b"1000")) == [str(number).encode() for number in range(1000)]
    assert client.up(iter([b"a" * 1000] * 1000)) == b"a" * 1_000_000
    assert list(client.both(iter([b"a", b"b", b"c"]))) == [b"A", b"B", b"C"]


def test_both_ways_message_by_message(client: Client) -> None:
    answered = threading.Semaphore(0)

    def requests() -> Iterator[bytes]:
        for number in range(20):
            yield b"m%d" % number
            # The next one is not sent before this one was answered.
            assert answered.acquire(timeout=10)

    got = []
    for answer in client.both(requests()):
        got.append(answer)
        answered.release()
    assert got == [b"M%d" % number for number in range(20)]


def test_early_hooks_that_look_at_bodies_let_calls_pass(
    gateway: Start, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "grpc_early.py").write_text(
        "def before(request): ...\ndef after(request, response):\n    response.headers['x-early'] = '1'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    early = {"stage": "early", "body": True}
    hooks = [{"on_request": "grpc_early:before", **early}, {"on_response": "grpc_early:after", **early}]
    client = Client(gateway({**CONFIGURATION, "hooks": hooks}, shop=server).address)
    try:
        test_both_ways_message_by_message(client)
        answer, call = client.unary.with_call(b"abc", timeout=10)
        assert (answer, call.code()) == (b"cba", grpc.StatusCode.OK)
        assert ("x-early", "1") in call.initial_metadata()
        assert ("x-last", "2") in call.trailing_metadata()
    finally:
        client.channel.close()


def test_errors_of_the_server_arrive_as_they_are(client: Client) -> None:
    error = client.error(client.broken, b"")
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "50 % „kaputt“")
    error = client.error(client.channel.unary_unary("/shop.Shop/Nothing"), b"")
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_call_that_is_cancelled_is_cancelled_at_the_server(client: Client, shop: Shop) -> None:
    call = client.wait.future(b"")
    assert shop.started.wait(10)
    call.cancel()
    assert shop.cancelled.wait(10)
    shop.cancelled.clear()
    stream = client.tick(b"")
    assert next(stream) == b"tick"
    stream.cancel()
    assert shop.cancelled.wait(10)


def slow(connection: H2Connection, stream: int, fields: dict[str, str]) -> None:
    """Never answers; or, asked for a tick, never ends."""
    if fields[":path"].endswith("Tick"):
        connection.h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        connection.h2.send_data(stream, b"\0\0\0\0\4tick")


@pytest.mark.parametrize("method", ["Wait", "Tick"])
def test_the_deadline_of_a_call_is_the_exchange_s(gateway: Start, method: str) -> None:
    with H2Instance(slow) as instance:
        running = gateway(CONFIGURATION, shop=instance)
        with FramePeer(running.address) as peer:
            began = time.monotonic()
            fields = (("content-type", "application/grpc"), ("grpc-timeout", "300m"), ("te", "trailers"))
            answer = peer.answer(peer.request("POST", f"/shop.Shop/{method}", *fields, body=b"\0\0\0\0\0"))
            assert time.monotonic() - began >= 0.3
        ending = dict(answer.trailers or answer.fields)
        assert (answer.status, ending["grpc-status"]) == (200, "4")
        assert answer.ended
        assert instance.requests[0]["grpc-timeout"] == "300m"


def told_too_late(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
    """Gives up itself, as servers do that read the deadline."""
    fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "4")]
    connection.h2.send_headers(stream, fields, end_stream=True)


BREAKER: dict[str, Any] = {"protocol": "http2", "circuit_breaker": {"failure_threshold": 1, "timeout": "60s"}}


@pytest.mark.parametrize("answer", [slow, told_too_late])
def test_a_client_s_deadline_takes_no_instance_out(gateway: Start, answer: Handler) -> None:
    with H2Instance(answer) as instance:
        running = gateway({**CONFIGURATION, "services": {"shop": BREAKER}}, shop=instance)
        for _ in range(3):
            with FramePeer(running.address) as peer:
                fields = (("content-type", "application/grpc"), ("grpc-timeout", "50m"), ("te", "trailers"))
                ended = peer.answer(peer.request("POST", "/shop.Shop/Wait", *fields, body=b"\0\0\0\0\0"))
            assert dict(ended.trailers or ended.fields)["grpc-status"] == "4"
        (service,) = running.gateway.stats()["services"]
        assert (service["breaker"]["state"], service["instances"][0]["failures"]) == ("closed", 0)


def test_a_client_s_deadline_that_passes_while_connecting_says_nothing(gateway: Start) -> None:
    # It listens, but takes no connection: there is one in its queue already.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as waiting:
        address = listener.getsockname()
        for _ in range(2):
            peer = waiting.enter_context(socket.socket())
            peer.setblocking(False)
            peer.connect_ex(address)
        running = gateway({**CONFIGURATION, "services": {"shop": BREAKER}}, shop=f"http://127.0.0.1:{address[1]}")
        for _ in range(2):
            with FramePeer(running.address) as client:
                fields = (("content-type", "application/grpc"), ("grpc-timeout", "50m"), ("te", "trailers"))
                ended = client.answer(client.request("POST", "/shop.Shop/Wait", *fields, body=b"\0\0\0\0\0"))
            assert dict(ended.fields)["grpc-status"] == "4"
        (service,) = running.gateway.stats()["services"]
        assert (service["breaker"]["state"], service["instances"][0]["failures"]) == ("closed", 0)


def test_a_deadline_that_is_not_the_client_s_is_the_instance_s_fault(gateway: Start) -> None:
    with H2Instance(told_too_late) as instance:
        running = gateway({**CONFIGURATION, "services": {"shop": BREAKER}}, shop=instance)
        client = Client(running.address)
        codes = [client.error(client.unary, b"").code() for _ in range(2)]
        assert codes == [grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE]
        client.channel.close()


def test_a_client_with_a_deadline(client: Client) -> None:
    error = client.error(client.wait, b"", timeout=0.3)
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_service_that_breaks_off_in_the_middle_is_unavailable(gateway: Start) -> None:
    def answer(connection: H2Connection, stream: int, fields: dict[str, str]) -> None:
        slow(connection, stream, fields)
        connection.flush()
        connection.h2.reset_stream(stream, 2)

    with H2Instance(answer) as instance:
        running = gateway(CONFIGURATION, shop=instance)
        client = Client(running.address)
        stream = client.tick(b"")
        error = client.error(list, stream)
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        client.channel.close()


ERRORS = {
    "no route": ({"routes": [{"name": "a", "prefix": "/other", "service": "shop"}]}, grpc.StatusCode.UNIMPLEMENTED),
    "not allowed": (
        {
            "auth": {"api_key": {"consumers": {"a": {"keys": ["0" * 64]}}}},
            "routes": [{"name": "a", "prefix": "/", "service": "shop", "auth_required": True}],
        },
        grpc.StatusCode.UNAUTHENTICATED,
    ),
    "rate limit": (
        {"routes": [{"name": "a", "prefix": "/", "service": "shop", "rate_limit": "1/hour"}]},
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    ),
    "too large": ({"limits": {"max_body": 5}}, grpc.StatusCode.RESOURCE_EXHAUSTED),
}


@pytest.mark.parametrize("case", ERRORS)
def test_refusals_are_told_in_words_of_grpc(gateway: Start, server: str, case: str) -> None:
    configuration, code = ERRORS[case]
    client = Client(gateway({**CONFIGURATION, **configuration}, shop=server).address)
    if case == "rate limit":
        client.unary(b"a")
    error = client.error(client.unary, b"abc")
    assert error.code() == code
    assert error.details()
    assert "x-request-id" in dict(error.initial_metadata() or ()) | dict(error.trailing_metadata() or ())
    client.channel.close()


def test_a_refusal_is_nothing_but_a_head(gateway: Start, dead_url: str) -> None:
    running = gateway(CONFIGURATION, shop=dead_url)
    with FramePeer(running.address) as peer:
        answer = peer.answer(
            peer.request("POST", "/a.B/C", ("content-type", "application/grpc+proto"), body=b"\0\0\0\0\0")
        )
        assert answer.status == 200
        assert (answer.get("grpc-status"), answer.body, answer.trailers) == ("14", b"", [])
        assert answer.get("content-type") == "application/grpc"
        assert answer.get("grpc-message") == "the service could not be reached"
        assert answer.get("content-length") is None
        malformed = peer.answer(
            peer.request("POST", "/a.B/C", ("content-type", "application/grpc"), ("grpc-timeout", "1"), body=b"")
        )
        assert malformed.get("grpc-status") == "13"
        # What is no call gets what everybody gets.
        assert (
            peer.answer(peer.request("POST", "/a.B/C", ("content-type", "application/json"), body=b"{}")).status == 502
        )
    # Whoever counts sees what it was, not what it was wrapped in.
    assert running.gateway.stats()["totals"]["by_class"] == [0, 0, 0, 1, 2]


def test_retries_know_how_calls_fail(gateway: Start, server: str, shop: Shop) -> None:
    routes = [{"name": "a", "prefix": "/", "service": "shop", "retries": 2, "retry_on": ["gateway_error"]}]
    client = Client(gateway({**CONFIGURATION, "routes": routes}, shop=server).address)

    def unavailable(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
        fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "14")]
        connection.h2.send_headers(stream, fields, end_stream=True)

    assert client.unary(b"ab") == b"ba"
    client.channel.close()
    with H2Instance(unavailable) as instance:
        running = gateway({**CONFIGURATION, "routes": routes}, shop=instance)
        client = Client(running.address)
        assert client.error(client.unary, b"").code() == grpc.StatusCode.UNAVAILABLE
        assert len(instance.requests) == 3
        client.channel.close()
    with H2Instance(unavailable) as instance:
        # Without being told so, a call is repeated only when it is sure not to have been acted on.
        running = gateway(CONFIGURATION, shop=instance)
        client = Client(running.address)
        assert client.error(client.unary, b"").code() == grpc.StatusCode.UNAVAILABLE
        assert len(instance.requests) == 1
        client.channel.close()
    assert shop.calls == ["Unary"]


def test_a_breaker_counts_calls_that_fail(gateway: Start, server: str, shop: Shop) -> None:
    shop.fail_first = 100
    breaker = {"failure_threshold": 2, "timeout": "60s"}
    running = gateway(
        {**CONFIGURATION, "services": {"shop": {"protocol": "http2", "circuit_breaker": breaker}}}, shop=server
    )
    client = Client(running.address)
    details = [client.error(client.unary, b"").details() for _ in range(3)]
    assert details[:2] == ["not now", "not now"]
    assert details[2] == "the service has failed too often of late, and gets no requests for a while"
    assert len(shop.calls) == 2
    client.channel.close()


def test_health_is_asked_in_words_of_grpc(gateway: Start, server: str, shop: Shop) -> None:
    check = {"grpc": "shop.Shop", "interval": "50ms", "unhealthy_after": 1}
    running = gateway(
        {**CONFIGURATION, "services": {"shop": {"protocol": "http2", "health_check": check}}}, shop=server
    )
    client = Client(running.address)
    assert client.unary(b"ab") == b"ba"
    shop.serving = False
    while running.gateway.stats()["services"][0]["instances"][0]["state"] != "down":
        pass
    assert client.error(client.unary, b"").code() == grpc.StatusCode.UNAVAILABLE
    shop.serving = True
    while running.gateway.stats()["services"][0]["instances"][0]["state"] == "down":
        pass
    assert client.unary(b"ab") == b"ba"
    client.channel.close()
