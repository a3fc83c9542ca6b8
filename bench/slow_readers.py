"""What clients cost that ask and never read, until they are cut off. `python -m bench.slow_readers --help`."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import hpack
from hyperframe.frame import Frame, HeadersFrame, SettingsFrame, WindowUpdateFrame

from bench.measure import GATEWAY_CORE, free_port, wait_listening
from bench.options import add_pylae
from bench.peers import Pylae, Setup
from bench.processes import BenchError, Process, running
from bench.scenarios import SCENARIOS

_KINDS = ("h1", "tls", "h2")
_GRACE = 3.0
"""`limits.body_grace` of the gateway, in seconds."""
_RATE = 10_000
"""Its `limits.min_rate`: what little the clients' kernels take earns them less than a second."""
_RECEIVE_BUFFER = 4096
_ENDLESS = 1 << 40
_PIECE = bytes(1 << 16)
_REQUEST = b"GET /endless HTTP/1.1\r\nHost: bench.test\r\n\r\n"


@dataclass(frozen=True)
class _Moment:
    """What is held at one time; memory in bytes."""

    resident: int
    kernel: int
    """In the gateway's ends of its clients' connections and of those to the service."""
    sockets: int
    orphans: int
    """Of these, how many no process holds any more."""

    def line(self, kind: str, when: str) -> str:
        """A row of the table."""
        figures = f"{self.resident / 1e6:.0f} | {self.kernel / 1e6:.1f} | {self.sockets} | {self.orphans}"
        return f"| {kind} | {when} | {figures} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table; 1 if there is none."""
    parser = argparse.ArgumentParser(prog="python -m bench.slow_readers", description="Clients that never read.")
    parser.add_argument("--kinds", default=",".join(_KINDS), help=f"of {', '.join(_KINDS)}; default all")
    parser.add_argument("--readers", type=int, default=100, help="clients that ask and never read; default 100")
    parser.add_argument("--wait", type=float, default=10.0, help="seconds that the cut is waited for; default 10")
    add_pylae(parser)
    options = parser.parse_args(argv)
    try:
        if unknown := set(options.kinds.split(",")) - set(_KINDS):
            raise BenchError(f"--kinds: {', '.join(unknown)} is none of {', '.join(_KINDS)}")
        print("| clients speak | when | gateway RSS MB | kernel MB | sockets | of them orphans |")
        print("|---|---|---:|---:|---:|---:|")
        for kind in options.kinds.split(","):
            _measure(kind, options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _measure(kind: str, options: argparse.Namespace) -> None:
    program = options.pylae.absolute() if options.pylae else Pylae.find()
    with tempfile.TemporaryDirectory(prefix="pylae-bench-") as name, contextlib.ExitStack() as stack:
        origin = stack.enter_context(_endless())
        setup = Setup(SCENARIOS["h2" if kind == "h2" else "tls"], free_port(), origin, Path(name))
        gateway = Process([program, "run", _configured(kind, setup)], GATEWAY_CORE, setup.folder / "log")
        stack.enter_context(running(gateway))
        wait_listening(gateway, setup.port)

        def tell(when: str) -> None:
            print(_look(gateway, setup).line(kind, when), flush=True)

        tell("before")
        context = _context(kind, setup)
        began = time.monotonic()
        clients = [stack.enter_context(_stopped(kind, setup, context)) for _ in range(options.readers)]
        time.sleep(max(0.5, began + _GRACE * 0.7 - time.monotonic()))
        tell("while they do not read")
        cut = _wait_for_resets(clients, began + _GRACE + options.wait)
        tell(f"{time.monotonic() - began:.1f} s later, {cut} were reset")
        for client in clients:
            client.close()
        time.sleep(1)
        tell("once they are gone")


def _configured(kind: str, setup: Setup) -> Path:
    listener: dict[str, object] = {"address": f"127.0.0.1:{setup.port}"}
    if kind != "h1":
        listener["tls"] = {"cert": str(setup.certificate.cert), "key": str(setup.certificate.key)}
    config = {
        "listeners": [listener],
        "workers": 1,
        "limits": {"body_grace": f"{_GRACE}s", "min_rate": _RATE},
        "services": {"origin": {"instances": [f"http://127.0.0.1:{setup.origin}"]}},
        "routes": [{"prefix": "/", "service": "origin", "auth_required": False}],
    }
    file = setup.folder / "pylae.yaml"
    file.write_text(json.dumps(config))
    return file


@contextlib.contextmanager
def _endless() -> Iterator[int]:
    """A service that answers with more than anybody reads; its port."""

    def answer(connection: socket.socket) -> None:
        # Ends when the gateway has enough of it.
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {_ENDLESS}\r\n\r\n".encode())
            while True:
                connection.sendall(_PIECE)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def _context(kind: str, setup: Setup) -> ssl.SSLContext | None:
    if kind == "h1":
        return None
    context = ssl.create_default_context(cafile=setup.certificate.cert)
    context.set_alpn_protocols(["h2" if kind == "h2" else "http/1.1"])
    return context


def _stopped(kind: str, setup: Setup, context: ssl.SSLContext | None) -> socket.socket:
    """A client that has asked and reads nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", setup.port))
    if context:
        connection = context.wrap_socket(connection, server_hostname="bench.test")
    connection.sendall(_ask_http2() if kind == "h2" else _REQUEST)
    return connection


def _ask_http2() -> bytes:
    """One request, and windows that are not what stops the answer."""
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", "bench.test"), (":path", "/endless")]
    most = 2**31 - 1
    frames: list[Frame] = [
        SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: most}),
        WindowUpdateFrame(0, most - 65535),
        HeadersFrame(1, hpack.Encoder().encode(fields), flags=["END_HEADERS", "END_STREAM"]),
    ]
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(frame.serialize() for frame in frames)


def _wait_for_resets(clients: Sequence[socket.socket], end: float) -> int:
    """How many connections were reset, once all are or time is up; a reset shows without anything being read."""
    poll = select.poll()
    for client in clients:
        poll.register(client, 0)
    while (cut := len(poll.poll(0))) < len(clients) and time.monotonic() < end:
        time.sleep(0.1)
    return cut


def _look(gateway: Process, setup: Setup) -> _Moment:
    """What is held now; of the kernel, what `ss` says."""
    clients, service = (_sockets(end) for end in (f"sport = :{setup.port}", f"dport = :{setup.origin}"))
    kernel = sum(int(size) for line in clients + service for size in re.findall(r"[(,][rwf](\d+)", line))
    # What no process holds has no inode.
    orphans = sum("ino:0 " in line for line in clients)
    return _Moment(gateway.resident(), kernel, len(clients), orphans)


def _sockets(condition: str) -> list[str]:
    words = ["ss", "--tcp", "--memory", "--extended", "--numeric", "--oneline", "--no-header", "state", "connected"]
    try:
        return subprocess.run([*words, condition], check=True, capture_output=True, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchError(f"ss, of iproute2, is needed: {error}") from error


if __name__ == "__main__":
    raise SystemExit(main())
