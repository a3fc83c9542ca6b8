"""What idle connections cost: memory for each, and what busy ones beside them feel. `python -m bench.idle --help`."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import resource
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import hpack
from hyperframe.frame import DataFrame, Frame, HeadersFrame, SettingsFrame

from bench.measure import LOAD_CORE, Gateway, Sample, Window, free_port, middle, start_origin
from bench.options import add_pylae
from bench.peers import Pylae, Setup
from bench.processes import BenchError, running
from bench.run import build_load
from bench.scenarios import SCENARIOS

_KINDS = {"h1": "proxy", "tls": "tls", "h2": "h2"}
"""Scenarios of the busy connections, by what the idle ones speak."""
_SPARE = 500
"""Files that a gateway and we need beside the connections."""
_PATIENCE = 10.0


class _Roomy(Pylae):
    """Pylae with room for the idle connections, which it keeps for as long as the bench takes."""

    def command(self, setup: Setup) -> list[str | Path]:
        """The same, with other limits."""
        words = super().command(setup)
        file = Path(words[-1])
        config = json.loads(file.read_text())
        file.write_text(json.dumps({**config, "limits": {"max_connections": 1_000_000, "keep_alive": "1h"}}))
        return words


@dataclasses.dataclass(frozen=True)
class _Figures:
    """What one kind has shown; memory in bytes."""

    kind: str
    each: float
    alone: list[Sample]
    beside: list[Sample]

    def line(self) -> str:
        """A row of the table."""
        times = [f"{middle(samples, field):.0f}" for field in ("p50", "p99") for samples in (self.alone, self.beside)]
        return f"| {self.kind} | {self.each / 1024:.1f} | {' | '.join(times)} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the bench; 1 if there is no figure."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description="Memory of idle connections.")
    parser.add_argument("--kinds", default=",".join(_KINDS), help="of h1, tls, h2; default all")
    parser.add_argument("--connections", type=int, default=8000, help="idle connections; default 8000")
    parser.add_argument("--per-second", type=float, default=1000, help="so many are opened a second; default 1000")
    parser.add_argument("--rounds", type=int, default=3, help="windows without and with them; default 3")
    parser.add_argument("--duration", type=float, default=3.0, help="seconds per window; default 3")
    add_pylae(parser)
    options = parser.parse_args(argv)
    unknown = set(options.kinds.split(",")) - set(_KINDS)
    try:
        if unknown:
            raise BenchError(f"--kinds: {', '.join(unknown)} is none of {', '.join(_KINDS)}")
        _allow_files(options.connections + _SPARE)
        print("| idle ones speak | KB each | p50 alone, µs | p50 beside them | p99 alone | p99 beside them |")
        print("|---|---|---|---|---|---|")
        for kind in options.kinds.split(","):
            print(_measure(kind, options).line(), flush=True)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _allow_files(count: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < count:
        raise BenchError(f"{count} open files are needed, and `ulimit -Hn` allows {most}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, most))


def _measure(kind: str, options: argparse.Namespace) -> _Figures:
    load = build_load()
    os.sched_setaffinity(0, {LOAD_CORE})
    peer = _Roomy("pylae", options.pylae.absolute() if options.pylae else Pylae.find())
    with tempfile.TemporaryDirectory(prefix="pylae-bench-") as name, contextlib.ExitStack() as stack:
        origin, port = start_origin(load, Path(name))
        stack.enter_context(running(origin))
        gateway = Gateway(peer, Setup(SCENARIOS[_KINDS[kind]], free_port(), port, Path(name)))
        stack.callback(gateway.process.end)
        gateway.wait(load)
        full = gateway.measure(load, Window(0.5, options.duration))
        # Behind others a busy client waits; at half of what is possible it shows what the idle ones add.
        half = Window(0.5, options.duration, full.rate / 2)
        alone = [gateway.measure(load, half) for _ in range(options.rounds)]
        before = gateway.process.resident()
        context = _context(kind, gateway.setup)
        began = time.monotonic()
        for number in range(options.connections):
            # All at once would measure connections that have just been busy.
            time.sleep(max(0.0, began + number / options.per_second - time.monotonic()))
            stack.enter_context(_idle(kind, gateway.setup, context))
        each = (gateway.process.resident() - before) / options.connections
        beside = [gateway.measure(load, half) for _ in range(options.rounds)]
    return _Figures(kind, each, alone, beside)


def _context(kind: str, setup: Setup) -> ssl.SSLContext | None:
    if not setup.tls:
        return None
    context = ssl.create_default_context(cafile=setup.certificate.cert)
    context.set_alpn_protocols(["h2" if kind == "h2" else "http/1.1"])
    return context


def _idle(kind: str, setup: Setup, context: ssl.SSLContext | None) -> socket.socket:
    """A connection that was of use once."""
    connection = socket.create_connection(("127.0.0.1", setup.port), _PATIENCE)
    if context:
        connection = context.wrap_socket(connection, server_hostname="bench.test")
    if kind == "h2":
        _ask_http2(connection)
    else:
        connection.sendall(b"GET /json HTTP/1.1\r\nHost: bench.test\r\n\r\n")
        if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
            raise BenchError("an idle connection was refused")
    return connection


def _ask_http2(connection: socket.socket) -> None:
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", "bench.test"), (":path", "/json")]
    head = HeadersFrame(1, hpack.Encoder().encode(fields), flags=["END_HEADERS", "END_STREAM"])
    acknowledged = SettingsFrame(0, flags=["ACK"])
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    connection.sendall(hello + b"".join(frame.serialize() for frame in (SettingsFrame(0), acknowledged, head)))
    with connection.makefile("rb") as stream:
        while len(start := stream.read(9)) == 9:
            frame, length = Frame.parse_frame_header(memoryview(start))
            frame.parse_body(memoryview(stream.read(length)))
            if isinstance(frame, DataFrame) and "END_STREAM" in frame.flags:
                return
    raise BenchError("an idle connection was refused")


if __name__ == "__main__":
    raise SystemExit(main())
