"""Running gateways: in this process, or `pylae run` as a process of its own."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pylae import Gateway
from pylae.testing import StartedGateway
from pylae.testing.gateway import Instances, urls
from support.peer import Message, Peer, raw

Configuration = str | Mapping[str, Any]
"""YAML, or what YAML would give."""


def configure(configuration: Configuration = "", **instances: Instances) -> dict[str, Any]:
    """A configuration with what tests leave out.

    `users=instance` declares the service `users` or gives it its instances. Without listeners it listens on a free
    port of 127.0.0.1, without `workers` it has one, without routes every path goes to the first service, and without
    `auth` no route requires authentication.
    """
    given = yaml.safe_load(configuration) or {} if isinstance(configuration, str) else dict(configuration)
    config: dict[str, Any] = {"listeners": ["127.0.0.1:0"], "workers": 1, **given}
    services = {name: dict(service) for name, service in config.get("services", {}).items()}
    for name, value in instances.items():
        services.setdefault(name, {})["instances"] = urls(value)
    config["services"] = services
    routes = config.get("routes", [{"name": "all", "prefix": "/", "service": next(iter(services))}] if services else [])
    if "auth" not in config:
        routes = [{"auth_required": False, **route} for route in routes]
    config["routes"] = routes
    return config


class Running(StartedGateway):
    """A gateway that runs in this process."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(Gateway(**config))

    def apply(self, configuration: Configuration = "", **instances: Instances) -> None:
        """Puts another configuration in force; raises as `Gateway.apply` does."""
        self.gateway.apply(Gateway(**configure(configuration, **instances)))

    def connect(self, **options: Any) -> Peer:
        """A new connection to the first listener."""
        return Peer.connect(self.address, **options)

    def raw(self, data: bytes, count: int | None = None, *, method: str = "GET") -> list[Message]:
        """See `support.peer.raw`."""
        return raw(self.address, data, count, method=method)

    def get(self, target: str = "/", *fields: str) -> Message:
        """One GET on a connection of its own."""
        lines = "".join(f"{field}\r\n" for field in ("Host: gateway.test", *fields))
        return self.raw(f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"), 1)[0]


class FromFile(Running):
    """A gateway in this process that was read from a file, so that it can be read again."""

    def __init__(self, file: Path) -> None:
        StartedGateway.__init__(self, Gateway.from_file(file))


class Process:
    """`pylae run` as a process of its own, or another command that says on standard error where it listens."""

    def __init__(self, config: Mapping[str, Any], folder: Path, *command: str, program: str = sys.executable) -> None:
        self.file = folder / "pylae.yaml"
        self.write(config)
        self.process = subprocess.Popen(
            [program, *(command or ("-m", "pylae", "run", str(self.file)))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.printed: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.addresses: list[str] = re.findall(r"127\.0\.0\.1:\d+", self.read_until("listening on"))
        except BaseException:
            self.stop()
            raise

    def apply(self, configuration: Configuration = "", **instances: Instances) -> None:
        """Writes another configuration and waits until the change of the file was noticed and applied."""
        self.write(configure(configuration, **instances))
        self.read_until("configuration applied")

    def write(self, config: Mapping[str, Any]) -> None:
        """Puts another configuration in the file, at once and whole."""
        beside = self.file.with_suffix(".part")
        beside.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
        beside.replace(self.file)

    @property
    def address(self) -> str:
        """`host:port` of the first listener."""
        return self.addresses[0]

    @property
    def url(self) -> str:
        """URL of the first listener."""
        return f"http://{self.address}"

    @property
    def memory(self) -> int:
        """Resident memory in bytes (VmRSS in `/proc/PID/status`)."""
        return self._status("VmRSS")

    @property
    def peak_memory(self) -> int:
        """The most resident memory that it ever had, in bytes (VmHWM)."""
        return self._status("VmHWM")

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"{name}:\s+(\d+) kB", text)
        assert found
        return int(found[1]) * 1024

    def _read(self) -> None:
        for line in self.process.stderr or ():
            self._lines.put(line)
        self._lines.put(None)

    def read_until(self, words: str) -> str:
        """Waits for a line of its log that contains the words."""
        while True:
            try:
                line = self._lines.get(timeout=30)
            except queue.Empty:
                raise AssertionError(f"has not said {words!r}, but: {''.join(self.printed)}") from None
            assert line is not None, f"ended without {words!r} after: {''.join(self.printed)}"
            self.printed.append(line)
            if words in line:
                return line

    def said(self, words: str) -> str:
        """A line of its log that contains the words: one that was read already, or else as `read_until`."""
        known = [line for line in self.printed if words in line]
        return known[0] if known else self.read_until(words)

    def connect(self, **options: Any) -> Peer:
        """A new connection to the first listener."""
        return Peer.connect(self.address, **options)

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Waits for its end and gives the exit code."""
        return self.process.wait(30)

    def stop(self) -> None:
        """Kills it if it is still there."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        if self.process.stderr:
            self.process.stderr.close()
