"""Nodes that follow a shared store, each a process of its own, under traffic."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import yaml
from click.testing import CliRunner, Result

from pylae.cli import main
from pylae.cli.remote import Remote
from pylae.cli.report import Failure
from support.peer import Peer, wait_until
from support.running import Process
from support.service_process import ProcessInstance
from support.stores import Engine

DELAY = 0.15
"""Seconds that an instance takes: so much that a busy machine does not make it twice as long."""
CLIENTS = 8
"""Clients of each node."""
MARK = "x-configuration"
"""The field of answers that says which configuration they are from."""


class Node(Process):
    """A node. Its file has nothing but what belongs to it."""

    def __init__(self, engine: Engine, folder: Path, **own: Any) -> None:
        folder.mkdir(exist_ok=True)
        settings = engine.settings.model_dump(mode="json", exclude_defaults=True)
        if engine.settings.password is not None:
            settings["password"] = engine.settings.password.get_secret_value()
        self.folder = folder
        self.own = {"listeners": ["127.0.0.1:0"], "workers": 1, "state": "state", "store": settings, **own}
        super().__init__(self.own, folder)
        self.remote = Remote.local(folder / "state")

    @property
    def fleet(self) -> Any:
        """What it says of the fleet."""
        return self.remote.get("/fleet")

    @property
    def me(self) -> Any:
        """What it says of itself."""
        return next(one for one in self.fleet["nodes"] if one["this"])

    @property
    def rollout(self) -> Any:
        """The latest roll-out."""
        return self.remote.get("/rollout")

    def pylae(self, *words: str) -> Result:
        """What a person gets who calls a verb beside it."""
        return CliRunner().invoke(main, [*words, "--state", str(self.folder / "state")])

    def apply(self, config: Mapping[str, Any], *words: str) -> Result:
        """`pylae apply` of a configuration."""
        file = self.folder / "fleet.yaml"
        file.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
        return self.pylae("apply", str(file), *words)

    def has(self, number: int) -> None:
        """Waits until it has a configuration in force."""
        wait_until(lambda: self.me["in_force"] == number)

    def wait_for(self, *stages: str, patience: float = 60) -> Any:
        """Waits until the latest roll-out is at one of these stages, and returns it."""
        found: list[Any] = []

        def is_there() -> bool:
            try:
                found[:] = [self.rollout]
            except Failure:
                return False
            return found[0]["stage"] in stages

        wait_until(is_there, patience=patience)
        return found[0]


class Seen(NamedTuple):
    """An answer."""

    node: int
    at: float
    """Seconds since the Unix epoch."""
    status: int
    mark: str | None


class Visitors:
    """Clients of all nodes, which take note of each answer."""

    def __init__(self, nodes: Sequence[Process]) -> None:
        self.seen: list[Seen] = []
        self.failures: list[str] = []
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number, node.address), daemon=True)
            for number, node in enumerate(nodes)
            for _ in range(CLIENTS)
        ]

    def _run(self, number: int, address: str) -> None:
        try:
            with Peer.connect(address) as client:
                while not self._ended.is_set():
                    client.send(b"GET /x HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
                    answer = client.read_answer()
                    self.seen.append(Seen(number, time.time(), answer.status, answer.one(MARK)))
        except (OSError, AssertionError) as error:
            if not self._ended.is_set():
                self.failures.append(f"node {number}: {error!r}")

    def of(self, node: int) -> list[Seen]:
        """The answers of one node."""
        return [one for one in self.seen if one.node == node]

    def marks(self, node: int) -> set[str | None]:
        """The configurations that answers of a node were from."""
        return {one.mark for one in self.of(node)}

    def goes_on(self, more: int = 50) -> None:
        """Waits for further answers."""
        until = len(self.seen) + more
        wait_until(lambda: len(self.seen) >= until or bool(self.failures), patience=60)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


class Shop:
    """What the nodes are in front of: a service that works, and one that fails."""

    def __init__(self, good: str, bad: str) -> None:
        self._good, self._bad = good, bad

    def config(self, mark: str, *, failing: int = 0, observe: str = "2s", **others: Any) -> dict[str, Any]:
        """A configuration in which so many of a hundred answers fail."""
        to: dict[str, Any] = {"service": "good"}
        if failing:
            to = {"split": [{"service": "good", "weight": 100 - failing}, {"service": "bad", "weight": failing}]}
        return {
            "rollout": {"observe": observe, "min_requests": 50},
            "services": {"good": {"instances": [self._good]}, "bad": {"instances": [self._bad]}},
            "routes": [{"name": "all", "prefix": "/", "auth_required": False, **to}],
            "policies": {"transform": {"response": {"set": {MARK: mark}}}},
            **others,
        }


@contextmanager
def shop() -> Iterator[Shop]:
    """Starts both services."""
    with ProcessInstance(delay=DELAY) as good, ProcessInstance(delay=DELAY, status=500) as bad:
        yield Shop(good.url, bad.url)


@contextmanager
def fleet(engine: Engine, folder: Path, count: int, **own: Any) -> Iterator[list[Node]]:
    """Starts nodes with one store."""
    nodes: list[Node] = []
    try:
        nodes.extend(Node(engine, folder / f"node-{number}", **own) for number in range(count))
        yield nodes
    finally:
        for node in nodes:
            node.stop()


def place_of_first(nodes: Sequence[Node], rollout: Mapping[str, Any]) -> int:
    """Which of the nodes had a configuration first."""
    names = [node.me["name"] for node in nodes]
    return names.index(rollout["first"])
