"""One measured window: CPU time of the gateway's processes before and after a known number of checked requests."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.peers import Peer, Setup
from bench.processes import BenchError, Process, running
from bench.share import Share

GATEWAY_CORE = 0
LOAD_CORE = 1
_START_SECONDS = 30.0
_CONSUMERS_A_SECOND = 2000
"""That a gateway reads on the busiest machine."""
_GRACE_SECONDS = 20.0
_LOOK, _IDLE = 1.0, 0.02
"""Seconds between two looks at a gateway that starts, and the part of its core that it may use when it is idle."""
_SLOWEST = 100.0
"""Requests per second that a gateway answers on the busiest machine."""


@dataclass(frozen=True)
class Window:
    """How long each measurement takes, in seconds, and the request rate (none: as fast as answers come)."""

    warmup: float
    duration: float
    rate: float | None = None
    awake: bool = False
    """Whether the load looks for answers all the time, so that no gateway has to wake its core."""


@dataclass(frozen=True)
class Sample:
    """What one window showed. Times per request and latencies in microseconds, memory in bytes."""

    requests: int
    seconds: float
    cpu: float
    user: float
    system: float
    busy: float
    """The part of the gateway's core that it used, 0 to 1."""
    p50: float
    p99: float
    p999: float
    resident: int

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def middle(samples: Sequence[Sample], field: str) -> float:
    """The median of one field (or property) over the rounds."""
    return float(median(getattr(sample, field) for sample in samples))


class Gateway:
    """A started peer."""

    def __init__(self, peer: Peer, setup: Setup, core: int | None = GATEWAY_CORE, part: Share | None = None) -> None:
        """Starts the peer on a core, or on all that we have, with a part of its time or with all.

        Raises:
            BenchError: it can't be started.
        """
        self.peer = peer
        self.setup = setup
        command = peer.command(setup)
        self.process = Process(part.command(command) if part else command, core, setup.folder / "log")

    def wait(self, load: Path) -> None:
        """Waits until a checked request goes through.

        Raises:
            BenchError: the process ended, or answered wrongly or not at all.
        """
        patience = _START_SECONDS + self.setup.scenario.consumers / _CONSUMERS_A_SECOND
        wait_listening(self.process, self.setup.port, patience)
        self.process.tree()
        once = [*_load_command(load, self.setup), "--connections", "1", "--warmup", "0", "--requests", "1"]
        with running(Process(once, LOAD_CORE, self.setup.folder / "load.log", pipes=True)) as client:
            client.read_line(_START_SECONDS)
        if self.setup.scenario.consumers:
            self.settle(patience)

    def settle(self, patience: float = _START_SECONDS) -> None:
        """Waits until the gateway is idle: it serves before it has kept a large configuration.

        Raises:
            BenchError: it is still busy after `patience` seconds.
        """
        end = time.monotonic() + patience
        _, before = self.process.usage()
        while time.monotonic() < end:
            time.sleep(_LOOK)
            _, after = self.process.usage()
            if after.total - before.total < _LOOK * _IDLE:
                return
            before = after
        raise BenchError(f"still busy {patience:.0f} s after its start")

    def serve(self, load: Path, requests: int) -> None:
        """Sends so many checked requests.

        Raises:
            BenchError: an answer was wrong or missing.
        """
        command = [*_load_command(load, self.setup), "--connections", str(self.setup.scenario.connections)]
        command += ["--warmup", "0", "--requests", str(requests)]
        with running(Process(command, LOAD_CORE, self.setup.folder / "load.log", pipes=True)) as client:
            client.read_line(_START_SECONDS + requests / _SLOWEST)

    def measure(self, load: Path, window: Window) -> Sample:
        """Loads the gateway for one window.

        Raises:
            BenchError: an answer was wrong or missing, or the gateway lost a process: there is no figure.
        """
        command = [*_load_command(load, self.setup), "--connections", str(self.setup.scenario.connections)]
        command += ["--warmup", str(window.warmup), "--duration", str(window.duration), "--gate"]
        command += ["--awake"] if window.awake else []
        if window.rate is not None:
            command += ["--rate", f"{window.rate:.0f}"]
        with running(Process(command, LOAD_CORE, self.setup.folder / "load.log", pipes=True)) as client:
            # At the gate every answer of the warm-up is in, so both readings are of an idle gateway.
            client.read_line(window.warmup + _GRACE_SECONDS)
            pids, before = self.process.usage()
            client.write_line()
            answer = json.loads(client.read_line(window.duration + _GRACE_SECONDS))
            pids_after, after = self.process.usage()
        if pids != pids_after:
            raise BenchError(f"the processes changed from {pids} to {pids_after} during the window")
        requests = answer["requests"]
        latency = answer["latency_us"]
        return Sample(
            requests=requests,
            seconds=answer["seconds"],
            cpu=(after.total - before.total) * 1e6 / requests,
            user=(after.user - before.user) * 1e6 / requests,
            system=(after.system - before.system) * 1e6 / requests,
            busy=(after.total - before.total) / answer["seconds"],
            p50=latency["p50"],
            p99=latency["p99"],
            p999=latency["p999"],
            resident=self.process.resident(),
        )


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_listening(process: Process, port: int, patience: float = _START_SECONDS) -> None:
    """Waits at most `patience` seconds until the port accepts connections.

    Raises:
        BenchError: the process ended, or the port stays closed.
    """
    end = time.monotonic() + patience
    while process.running and time.monotonic() < end:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise BenchError(f"does not listen on port {port}: {process.tail() or 'no output'}")


def start_origin(load: Path, folder: Path, *options: str) -> tuple[Process, int]:
    """An origin and its port; the caller ends it.

    Raises:
        BenchError: it does not start.
    """
    process = Process([load, "origin", *options], LOAD_CORE, folder / "origin.log", pipes=True)
    try:
        return process, int(process.read_line(_GRACE_SECONDS).rpartition(":")[2])
    except BaseException:
        process.end()
        raise


def _load_command(load: Path, setup: Setup) -> list[str | Path]:
    scenario = setup.scenario
    command: list[str | Path] = [load, "load", "--connect", f"127.0.0.1:{setup.port}", "--path", scenario.path]
    if setup.tls:
        command += ["--tls", setup.certificate.cert]
    for header in scenario.headers:
        command += ["--header", header]
    for header in scenario.require:
        command += ["--require", header]
    if scenario.streams is not None:
        command += ["--streams", str(scenario.streams)]
    if "grpc" in scenario.features:
        command += ["--grpc"]
    if scenario.numbers is not None:
        command += ["--numbers", str(scenario.numbers)]
    if scenario.upload is not None:
        command += ["--method", "POST", "--upload", str(scenario.upload)]
    if scenario.chunked:
        command += ["--chunked"]
    if scenario.websocket is not None:
        command += ["--websocket", str(scenario.websocket)]
    return command
