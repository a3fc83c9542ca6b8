"""The cases of the test plan of W3C Trace Context (`test/test.py` of w3c/trace-context), against level 2 of it.

The plan speaks to a service that calls as often as it is told. A gateway forwards each request once, so two cases are
seen as several requests instead: `test_multiple_requests_with_valid_traceparent` and its two neighbours, in which one
request makes a service call three times, need a service's cooperation. What a retry does, which is the gateway's own
way to call several times, is below.

Level 2 has one grammar for keys (section 3.3.1.3.1), in which `@` is a character like others. The plan still asks for
that of level 1, with a system of at most 14 characters after a tenant of at most 241: five of its requests are lists
that level 2 allows, and they are among those that go on here (`foo@=1`, `foo@@bar=1`, `foo@bar@baz=1`, and keys of 242
characters before the `@` and of 15 behind it).
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Sequence

import pytest

from support.instance import OK, RawInstance
from support.otlp import Sink
from support.peer import Message
from support.running import Running, configure

TRACE, PARENT = "12345678901234567890123456789012", "1234567890123456"
VALID = f"00-{TRACE}-{PARENT}-01"
FUTURE = "what-the-future-will-be-like"

TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-(0[0-3])")


class Context:
    """What the instance got of a request."""

    def __init__(self, request: Message) -> None:
        (value,) = request.all("traceparent")
        found = TRACEPARENT.fullmatch(value)
        assert found, value
        self.trace_id, self.parent_id, self.flags = found[1], found[2], int(found[3], 16)
        self.states = request.all("tracestate")

    @property
    def state(self) -> list[str]:
        """Members of `tracestate`, in order and over all lines, without empty ones (RFC 9110, section 5.3)."""
        return [member for line in self.states for piece in line.split(",") if (member := piece.strip(" \t"))]


Hop = Callable[..., Context]


@pytest.fixture(scope="module")
def recording() -> Iterator[RawInstance]:
    """An instance that keeps what it gets."""
    with RawInstance(OK) as instance:
        yield instance


@pytest.fixture(scope="module")
def traced(recording: RawInstance) -> Iterator[tuple[Running, Sink]]:
    """A gateway that samples everything, and the sink that its spans go to."""
    with Sink() as sink:
        running = Running(configure({"telemetry": {"traces": {"endpoint": sink.url}}}, all=recording))
        yield running, sink
        running.stop()


@pytest.fixture
def hop(traced: tuple[Running, Sink], recording: RawInstance) -> Hop:
    """Sends a request with these lines through the gateway, and gives what came of it."""

    def send(*lines: str) -> Context:
        fields = "".join(f"{line}\r\n" for line in lines)
        (answer,) = traced[0].raw(f"GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode("latin-1"), 1)
        assert answer.status == 200
        return Context(recording.requests[-1])

    return send


def test_none(hop: Hop) -> None:
    first, second = hop(), hop()
    assert first.trace_id != second.trace_id
    assert first.parent_id != second.parent_id
    assert first.states == second.states == []


def test_a_new_trace_has_a_random_id(hop: Hop) -> None:
    # Level 2, section 3.2.2.5.2: whoever makes the id says so by the flag.
    assert hop().flags == 0b11


def test_each_hop_has_a_parent_id_of_its_own(hop: Hop) -> None:
    contexts = [hop(f"traceparent: {VALID}") for _ in range(3)]
    assert {one.trace_id for one in contexts} == {TRACE}
    assert len({PARENT, *(one.parent_id for one in contexts)}) == 4


def test_a_trace_that_nobody_can_follow_begins_anew_each_time(hop: Hop) -> None:
    contexts = [hop(f"traceparent: 00-{'0' * 32}-{PARENT}-01") for _ in range(3)]
    assert len({one.trace_id for one in contexts}) == len({one.parent_id for one in contexts}) == 3


@pytest.mark.parametrize("name", ["traceparent", "TraceParent", "TrAcEpArEnT", "TRACEPARENT"])
def test_name_in_any_case(hop: Hop, name: str) -> None:
    assert hop(f"{name}: {VALID}").trace_id == TRACE


@pytest.mark.parametrize("name", ["trace-parent", "trace.parent", "trace_parent", "xtraceparent"])
def test_another_name(hop: Hop, name: str) -> None:
    assert hop(f"{name}: {VALID}").trace_id != TRACE


@pytest.mark.parametrize("second", [VALID, f"00-{TRACE[::-1]}-{PARENT}-01", "", "nonsense"])
def test_several_lines_are_none(hop: Hop, second: str) -> None:
    for lines in ([VALID, second], [second, VALID]):
        context = hop(*(f"traceparent: {line}" for line in lines))
        assert context.trace_id not in (TRACE, TRACE[::-1])


@pytest.mark.parametrize("before", ["", " ", "\t", "\t "])
@pytest.mark.parametrize("after", ["", " ", "\t", " \t"])
def test_space_around_it(hop: Hop, before: str, after: str) -> None:
    assert hop(f"traceparent:{before}{VALID}{after}").trace_id == TRACE


@pytest.mark.parametrize(
    "value",
    [
        f"cc-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01-{FUTURE}",
        f"cc-{TRACE}-{PARENT}-01-",
        f"01-{TRACE}-{PARENT}-01",
        f"fe-{TRACE}-{PARENT}-01",
    ],
)
def test_later_versions_go_on_as_version_00(hop: Hop, value: str) -> None:
    context = hop(f"traceparent: {value}", "tracestate: foo=1")
    assert (context.trace_id, context.state) == (TRACE, ["foo=1"])
    assert context.parent_id != PARENT


# Each is as if it were absent, and `tracestate` is not looked at (section 3.3).
@pytest.mark.parametrize(
    "value",
    [
        # Version
        f"ff-{TRACE}-{PARENT}-01",
        f".0-{TRACE}-{PARENT}-01",
        f"0.-{TRACE}-{PARENT}-01",
        f"CC-{TRACE}-{PARENT}-01",
        f"000-{TRACE}-{PARENT}-01",
        f"0000-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        # What is behind the flags
        f"{VALID}.",
        f"{VALID}-{FUTURE}",
        f"{VALID}-",
        f"{VALID},{VALID}",
        f"cc-{TRACE}-{PARENT}-01.{FUTURE}",
        f"cc-{TRACE}-{PARENT}-011",
        # Trace id
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-.{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE[:-1]}.-{PARENT}-01",
        f"00-{TRACE[:-1]}A-{PARENT}-01",
        f"00-{TRACE}3-{PARENT}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"cc-{'0' * 32}-{PARENT}-01",
        # Parent id
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-.{PARENT[1:]}-01",
        f"00-{TRACE}-{PARENT[:-1]}.-01",
        f"00-{TRACE}-{PARENT[:-1]}A-01",
        f"00-{TRACE}-{PARENT}7-01",
        f"00-{TRACE}-{PARENT[:-1]}-01",
        # Flags
        f"00-{TRACE}-{PARENT}-.0",
        f"00-{TRACE}-{PARENT}-0.",
        f"00-{TRACE}-{PARENT}-0A",
        f"00-{TRACE}-{PARENT}-001",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-",
        # Separators, and what is shorter still
        f"00_{TRACE}-{PARENT}-01",
        f"00-{TRACE}_{PARENT}-01",
        f"00-{TRACE}-{PARENT}_01",
        f"00-{TRACE}",
        "00",
        "",
        "\xe9" * 55,
    ],
)
def test_invalid(hop: Hop, value: str) -> None:
    context = hop(f"traceparent: {value}", "tracestate: foo=1")
    assert context.trace_id != TRACE
    assert context.trace_id not in value
    assert context.states == []


@pytest.mark.parametrize(
    ("given", "onward"), [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("fe", 2), ("ff", 3), ("fc", 0), ("09", 1)]
)
def test_flags_that_it_knows_go_on_and_others_are_zero(hop: Hop, given: str, onward: int) -> None:
    assert hop(f"traceparent: 00-{TRACE}-{PARENT}-{given}").flags == onward


def test_state_without_parent_is_dropped(hop: Hop) -> None:
    assert hop("tracestate: foo=1").states == []
    assert hop("tracestate: foo=1,bar=2").states == []


@pytest.mark.parametrize("name", ["tracestate", "TraceState", "TrAcEsTaTe", "TRACESTATE"])
def test_name_of_the_state_in_any_case(hop: Hop, name: str) -> None:
    assert hop(f"traceparent: {VALID}", f"{name}: foo=1").state == ["foo=1"]


@pytest.mark.parametrize("name", ["trace-state", "trace.state"])
def test_another_name_of_the_state(hop: Hop, name: str) -> None:
    assert hop(f"traceparent: {VALID}", f"{name}: foo=1").states == []


def members(first: int, last: int) -> str:
    """A list of members, numbered."""
    return ",".join(f"bar{number:02}={number:02}" for number in range(first, last + 1))


IN_KEYS = string.ascii_lowercase + string.digits + "_-*/"
IN_VALUES = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")


@pytest.mark.parametrize(
    "lines",
    [
        ["foo=1,bar=2"],
        # Several lines are one list, in their order.
        ["foo=1,bar=2", "rojo=1,congo=2", "baz=3"],
        ["foo=1", ""],
        ["", "foo=1"],
        ["", "foo=1", " ", "\t"],
        # Empty members, and space around members
        ["foo=1,,bar=2"],
        [",foo=1,"],
        ["foo=1, ,\t,bar=2"],
        ["foo=1 \t , \t bar=2, \t baz=3"],
        ["foo=1\t \t,\t \tbar=2,\t \tbaz=3"],
        [" foo=1"],
        ["\tfoo=1"],
        ["foo=1 "],
        ["foo=1\t"],
        ["\t foo=1 \t"],
        # All characters that there may be
        [f"{IN_KEYS}={IN_VALUES}"],
        [f"{IN_KEYS}@{IN_KEYS}={IN_VALUES}"],
        ["foo= leading space"],
        ["0=1"],
        # So many, and so long
        [members(1, 32)],
        [members(1, 10), members(11, 20), members(21, 30), members(31, 32)],
        [members(1, 32), "", ",,"],
        ["foo=1", f"{'z' * 256}=1"],
        ["foo=1", f"{'t' * 241}@{'v' * 14}=1"],
        [f"foo={'v' * 256}"],
        # Keys of level 2 that level 1 did not have
        ["foo@=1,bar=2"],
        ["foo@@bar=1,bar=2"],
        ["foo@bar@baz=1,bar=2"],
        ["foo=1", f"{'t' * 242}@v=1"],
        ["foo=1", f"t@{'v' * 15}=1"],
    ],
)
@pytest.mark.parametrize("version", ["00", "cc"])
def test_states_that_go_on(hop: Hop, version: str, lines: Sequence[str]) -> None:
    context = hop(f"traceparent: {version}{VALID[2:]}", *(f"tracestate: {line}" for line in lines))
    assert context.trace_id == TRACE
    sent = [member.strip(" \t") for line in lines for member in line.split(",")]
    assert context.state == [member for member in sent if member]


# `traceparent` is good all the same (section 3.3).
@pytest.mark.parametrize(
    "lines",
    [
        [""],
        [" , ,\t"],
        # Keys that are there twice
        ["foo=1,foo=1"],
        ["foo=1,foo=2"],
        ["foo=1", "foo=1"],
        ["foo=1", "foo=2"],
        # Characters of keys
        ["foo =1"],
        ["FOO=1"],
        ["foo.bar=1"],
        ["@foo=1,bar=2"],
        ["_foo=1"],
        ["=1"],
        ["foo"],
        ["f\xf6\xf6=1"],
        # Characters of values
        ["foo=bar=baz"],
        ["foo=,bar=3"],
        ["foo=\t1\t2"],
        ["foo=\xe9"],
        # One member that is illegal spoils all.
        ["foo=1", "bar"],
        ["foo=1", "Bar=2", "baz=3"],
        # Too many, and too long
        [members(1, 33)],
        [members(1, 10), members(11, 20), members(21, 30), members(31, 33)],
        ["foo=1", f"{'z' * 257}=1"],
        [f"foo={'v' * 257}"],
    ],
)
def test_states_that_are_dropped_whole(hop: Hop, lines: Sequence[str]) -> None:
    context = hop(f"traceparent: {VALID}", *(f"tracestate: {line}" for line in lines))
    assert (context.trace_id, context.states) == (TRACE, [])


def test_the_parent_that_an_instance_gets_is_the_span_of_the_attempt(hop: Hop, traced: tuple[Running, Sink]) -> None:
    trace = TRACE[::-1]
    context = hop(f"traceparent: 00-{trace}-{PARENT}-01", "tracestate: foo=1")
    (attempt,) = traced[1].wait_for_spans(trace_id=trace, kind="client")
    (exchange,) = traced[1].wait_for_spans(trace_id=trace, kind="server")
    assert (attempt.span_id, attempt.parent_id) == (context.parent_id, exchange.span_id)
    assert exchange.parent_id == PARENT
    assert (exchange.trace_state, exchange.flags & 0xFF) == ("foo=1", 1)


def test_each_attempt_has_a_parent_id_of_its_own(gateway: Callable[..., Running]) -> None:
    failed = b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n"
    with Sink() as sink, RawInstance(failed, failed, OK) as instance:
        running = gateway(
            {
                "telemetry": {"traces": {"endpoint": sink.url}},
                "routes": [{"name": "all", "prefix": "/", "service": "all", "retries": 2, "retry_on": "gateway_error"}],
            },
            all=instance,
        )
        assert running.get("/", f"traceparent: {VALID}", "tracestate: foo=1").status == 200
        contexts = [Context(request) for request in instance.requests]
        assert [(one.trace_id, one.state) for one in contexts] == [(TRACE, ["foo=1"])] * 3
        spans = sink.wait_for_spans(3, trace_id=TRACE, kind="client")
        assert [one.parent_id for one in contexts] == [span.span_id for span in spans]
        assert len({PARENT, *(one.parent_id for one in contexts)}) == 4


def test_without_traces_both_fields_pass_as_they_are(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway(all=instance)
    assert running.get("/", "traceparent: nonsense", "tracestate: A=1,,A=1").status == 200
    (request,) = instance.requests
    assert (request.all("traceparent"), request.all("tracestate")) == (["nonsense"], ["A=1,,A=1"])
    assert running.get("/").status == 200
    assert "traceparent" not in instance.requests[-1]
