"""A gateway whose standard error or output is a pipe that is full and that nobody reads."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from support.peer import wait_until


class FullPipe:
    """A pipe without room. `writer` is the end that a process gets."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.fill()

    def fill(self) -> None:
        """Takes what room there is, by an opening of its own: the process is to wait, not to be told that it would."""
        descriptor = os.open(f"/proc/self/fd/{self.writer}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            for size in (4096, 1):
                while True:
                    try:
                        os.write(descriptor, b"." * size)
                    except BlockingIOError:
                        break
        finally:
            os.close(descriptor)

    def read(self, *words: str) -> str:
        """Reads until all of these words were there, and gives everything."""
        text = ""
        while not all(one in text for one in words):
            piece = os.read(self.reader, 65536)
            assert piece, f"ended without {words}: {text}"
            text += piece.decode()
        return text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        os.close(self.reader)
        os.close(self.writer)


class Silent:
    """A gateway that cannot say anything: what it does is asked by the socket in its state folder."""

    def __init__(self, config: Mapping[str, Any], folder: Path, *command: str, **streams: Any) -> None:
        self.file, self.state = folder / "pylae.yaml", folder / "state"
        self.write(config)
        self.process = subprocess.Popen(
            [sys.executable, *(command or ("-m", "pylae", "run", str(self.file)))],
            **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams},
            cwd=folder,
        )
        path = self.state / "admin.sock"
        self.admin = httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost", timeout=30)
        try:
            wait_until(lambda: self.process.poll() is not None or _accepts(path))
            self.address: str = self.admin.get("/status").json()["listeners"][0]
        except BaseException:
            self.stop()
            raise

    def write(self, config: Mapping[str, Any]) -> None:
        """Puts a configuration in its file."""
        self.file.write_text(yaml.safe_dump({"admin": False, "state": "state", **config}), encoding="utf-8")

    def metric(self, sample: str) -> float:
        """The value of a sample of its metrics."""
        found = re.search(rf"^{re.escape(sample)} (\S+)$", self.admin.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal that ends it, and gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def stop(self) -> None:
        """Kills it if it is still there."""
        self.process.kill()
        self.process.wait()
        self.admin.close()


def _accepts(path: Path) -> bool:
    """Whether someone takes connections there. The file is there a moment earlier."""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        client.connect(str(path))
        return True
    return False
