"""The gateway under test: a process, as users start it."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.measure import free_port
from bench.peers import Pylae
from bench.processes import BenchError, Process, running

_START = 30.0


@contextlib.contextmanager
def gateway(folder: Path, service: Mapping[str, Any], listener: Mapping[str, Any]) -> Iterator[int]:
    """A gateway that sends everything to a service, and the port of its listener.

    Raises:
        BenchError: it does not start.
    """
    port, file = free_port(), folder / "pylae.yaml"
    config = {
        "listeners": [{"address": f"127.0.0.1:{port}", **listener}],
        "state": str(folder / "state"),
        "services": {"tested": dict(service)},
        "routes": [{"name": "all", "prefix": "/", "service": "tested", "auth_required": False}],
    }
    file.write_text(json.dumps(config))
    with running(Process([Pylae.find(), "run", file], None, folder / "pylae.log")) as process:
        end = time.monotonic() + _START
        while not _listens(port):
            if not process.running or time.monotonic() > end:
                raise BenchError(f"the gateway does not start: {process.tail()}")
            time.sleep(0.02)
        yield port


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
