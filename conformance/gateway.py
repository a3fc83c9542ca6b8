"""The gateway under test: a process, as users start it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.measure import free_port, wait_listening
from bench.peers import Pylae
from bench.processes import Process, running


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
        wait_listening(process, port)
        yield port
