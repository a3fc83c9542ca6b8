"""The program of the collector, and its process."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import yaml

FOLDER = Path(__file__).parent
PROGRAM = FOLDER / "collector"


class Collector:
    """A collector that receives over HTTP and gRPC, and exports to the URL of a sink, or nowhere.

    `tls` are a `cert` and its `key` (files). The test is skipped where the program has not been built.
    """

    def __init__(self, folder: Path, sink: str | None = None, tls: Mapping[str, str] | None = None) -> None:
        if not PROGRAM.exists():
            pytest.skip(
                f"the collector is not built (`go build -o {PROGRAM} .` or `make test-long` does it; it takes Go)"
            )
        file = folder / "collector.yaml"
        file.write_text(yaml.safe_dump(_configuration(sink, tls)), encoding="utf-8")
        self._process = subprocess.Popen([PROGRAM, "--config", file], stderr=subprocess.PIPE, text=True)
        scheme = "https" if tls else "http"
        host = "localhost" if tls else "127.0.0.1"
        try:
            self.grpc, self.http = (f"{scheme}://{host}:{self._port(kind)}" for kind in ("GRPC", "HTTP"))
        except BaseException:
            self.stop()
            raise

    def _port(self, kind: str) -> str:
        said = []
        for line in self._process.stderr or ():
            said.append(line)
            if f"Starting {kind} server" in line:
                return str(json.loads(line)["endpoint"]).rpartition(":")[2]
        raise AssertionError("".join(said))

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def stop(self) -> None:
        """Kills it. What it has not passed on is lost."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self.stop()


def _configuration(sink: str | None, tls: Mapping[str, str] | None) -> dict[str, Any]:
    security = {"tls": {"cert_file": tls["cert"], "key_file": tls["key"]}} if tls else {}
    receiving = {"endpoint": "127.0.0.1:0", **security}
    # Without a queue an export is answered when the sink has it.
    exporter = {"otlp_http": {"endpoint": sink, "sending_queue": {"enabled": False}}} if sink else {"nop": {}}
    pipeline = {"receivers": ["otlp"], "exporters": list(exporter)}
    return {
        "receivers": {"otlp": {"protocols": {"http": receiving, "grpc": receiving}}},
        "exporters": exporter,
        "service": {"pipelines": dict.fromkeys(("traces", "metrics", "logs"), pipeline)},
    }
