"""Several gateways in front of the shop, the nodes of one cluster, each as a process."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from pylae.demo.processes import DemoProcess

_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 3.0
_LAST_LINES = 20
_SERVING = re.compile(r"^\S+  serving \d+ ")
"""The last line that a node logs at its start."""
_TROUBLE = re.compile(r"^\S+  (?:warning|error): ")
"""What of the lines before is worth telling if the node starts nonetheless."""
_SETTINGS = """
# The nodes would all listen here. Each has a socket in its state folder, which `pylae status` and others use.
admin: false

# Several gateways share their limits through a store.
cluster:
"""


class NodeError(Exception):
    """A node did not start."""


class Audience(Protocol):
    """Is told what nodes say, on threads of theirs."""

    def log(self, node: str, line: str) -> None:
        """A line of its log."""

    def exchange(self, node: str, exchange: Mapping[str, Any]) -> None:
        """A request that it has answered, as access logs have it."""

    def ended(self, node: str, code: int) -> None:
        """It has ended by itself, or somebody has ended it."""


def names(count: int) -> Sequence[str]:
    """Returns the names of so many nodes."""
    return [f"node-{number}" for number in range(1, count + 1)]


def variables(node: str, address: str) -> Mapping[str, str]:
    """Returns what the configuration has to know of a node, by the names of its variables."""
    return {"DEMO_NODE": node, "DEMO_ADDRESS": address, "DEMO_STATE": node}


def settings(cluster: str, store: str, user: str | None = None, password: str | None = None) -> str:
    """Returns the part of the configuration that makes gateways the nodes of a cluster."""
    values = {"name": cluster, "store": store, "node": "${DEMO_NODE:-node-1}", "user": user, "password": password}
    lines = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in values.items() if value)
    return _SETTINGS + lines


class Node:
    """A node that was started, and what it has said so far."""

    def __init__(self, name: str, address: str, configuration: Path, audience: Audience) -> None:
        self.name, self.address = name, address
        self._audience = audience
        self._said: list[str] = []
        self._serving = False
        self._settled = threading.Event()
        self.stopping = False
        env = {**variables(name, address), "DEMO_ACCESS_LOG": "stdout"}
        command = (sys.executable, "-m", "pylae", "run", str(configuration))
        self.process = DemoProcess(command, self._hear, self._end, env)

    def wait_until_it_serves(self, patience: float) -> None:
        """Raises NodeError if it does not within so many seconds."""
        self._settled.wait(patience)
        if not self._serving:
            said = "".join(f"\n  {line}" for line in self._said[-_LAST_LINES:])
            raise NodeError(f"{self.name} did not start{' in time' if not self._settled.is_set() else ''}{said}")

    def _hear(self, line: str, is_error: bool) -> None:
        if not is_error:
            self._tell(line)
        elif self._settled.is_set():
            self._audience.log(self.name, line)
        elif _SERVING.match(line):
            self._serving = True
            self._settled.set()
        else:
            self._said.append(line)
            if _TROUBLE.match(line):
                self._audience.log(self.name, line)

    def _tell(self, line: str) -> None:
        """Tells of a line of standard output: of the access log, unless hooks or another format write there."""
        try:
            exchange = json.loads(line)
            self._audience.exchange(self.name, exchange)
        except (ValueError, LookupError, TypeError):
            self._audience.log(self.name, line)

    def _end(self, code: int) -> None:
        self._settled.set()
        if self._serving and not self.stopping:
            self._audience.ended(self.name, code)


class Nodes:
    """The running nodes. Use it as a context manager; leaving it stops them."""

    def __init__(self, configuration: Path, addresses: Sequence[str], audience: Audience) -> None:
        self.running: list[Node] = []
        self._configuration, self._addresses, self._audience = configuration, addresses, audience

    def __enter__(self) -> Self:
        end = time.monotonic() + _START_TIMEOUT
        try:
            for name, address in zip(names(len(self._addresses)), self._addresses, strict=True):
                self.running.append(Node(name, address, self._configuration, self._audience))
            for node in self.running:
                node.wait_until_it_serves(max(end - time.monotonic(), 0))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Stops every node."""
        for node in self.running:
            node.stopping = True
            node.process.terminate()
        for node in self.running:
            node.process.stop(_STOP_TIMEOUT)
