"""Several real stores that belong together: behind Sentinels, and as a Cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from support.peer import wait_until
from support.valkey import Valkey

SOON = 1000
"""Milliseconds without an answer after which the servers replace one."""


class Group(ABC):
    """Servers that replace one of theirs that fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: list[Valkey] = []
        self._stack = ExitStack()

    @property
    @abstractmethod
    def url(self) -> str:
        """What `cluster.store` says."""

    @abstractmethod
    def primary(self) -> Valkey:
        """A server that has keys."""

    @abstractmethod
    def serves(self) -> bool:
        """True if there is a primary for all keys."""

    @abstractmethod
    def take_back(self, server: Valkey) -> None:
        """Makes a server a replica that was replaced and answers again, and waits until nothing is missing."""

    def add(self, *options: str) -> Valkey:
        """Starts one more server."""
        folder = self.folder / f"server-{len(self.servers)}"
        folder.mkdir(exist_ok=True)
        server = self._stack.enter_context(Valkey(folder, *options))
        self.servers.append(server)
        return server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class Sentinels(Group):
    """A primary with two replicas, which three Sentinels know as `main`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._sentinels: list[Valkey] = []
        primary = self.add("--repl-diskless-sync-delay", "0")
        for _ in range(2):
            self.add("--replicaof", f"127.0.0.1 {primary.port}", "--repl-diskless-sync-delay", "0")
        wait_until(lambda: all(_is_in_sync(replica) for replica in self.servers[1:]))
        for number in range(3):
            self._sentinels.append(self._sentinel(number, primary.port))
        wait_until(lambda: all(self._knows_all(sentinel) for sentinel in self._sentinels))

    @property
    def url(self) -> str:
        """What `cluster.store` says."""
        return f"valkey+sentinel://{','.join(f'127.0.0.1:{one.port}' for one in self._sentinels)}/main"

    def primary(self) -> Valkey:
        """The server that the Sentinels name."""
        found = self._sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
        assert isinstance(found, list)
        return next(server for server in self.servers if server.port == int(found[1]))

    def serves(self) -> bool:
        """True if the server that the Sentinels name is a primary."""
        primary = self.primary()
        role = primary.ask("ROLE") if primary.answers else []
        return isinstance(role, list) and b"master" in role

    def take_back(self, server: Valkey) -> None:
        """Makes a server a replica that was replaced and answers again, and waits until nothing is missing."""
        # The Sentinels would say so too, some seconds later.
        server.ask("REPLICAOF", "127.0.0.1", self.primary().port)
        wait_until(lambda: _is_in_sync(server))
        wait_until(lambda: all(self._knows_all(sentinel) for sentinel in self._sentinels))

    def _sentinel(self, number: int, port: int) -> Valkey:
        folder = self.folder / f"sentinel-{number}"
        folder.mkdir()
        file = folder / "sentinel.conf"
        lines = [
            f"monitor main 127.0.0.1 {port} 2",
            f"down-after-milliseconds main {SOON}",
            "failover-timeout main 2000",
        ]
        file.write_text("".join(f"sentinel {line}\n" for line in lines), encoding="utf-8")
        return self._stack.enter_context(Sentinel(folder, str(file), "--sentinel"))

    @staticmethod
    def _knows_all(sentinel: Valkey) -> bool:
        told = sentinel.ask("SENTINEL", "MASTER", "main")
        assert isinstance(told, list)
        fields = dict(zip(told[::2], told[1::2], strict=True))
        return (fields[b"num-slaves"], fields[b"num-other-sentinels"], fields[b"flags"]) == (b"2", b"2", b"master")


class Sentinel(Valkey):
    """A Sentinel with a configuration of its own, which it writes."""

    _ready = "+monitor master"

    def _arguments(self) -> list[str]:
        file, *rest = self._options
        return [file, *rest, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]


class StoreCluster(Group):
    """A Cluster of three primaries, each with a replica. If one fails, the others go on."""

    def __init__(self, folder: Path, node_timeout: int = SOON) -> None:
        super().__init__(folder)
        self._turn = -1
        options: tuple[str, ...] = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout))
        options += ("--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0")
        for _ in range(6):
            self.add(*options)
        first, slots = self.servers[0], (0, 5461, 10923, 16384)
        for number, server in enumerate(self.servers[:3]):
            server.ask("CLUSTER", "ADDSLOTSRANGE", slots[number], slots[number + 1] - 1)
        for number, server in enumerate(self.servers):
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if server is not first:
                server.ask("CLUSTER", "MEET", "127.0.0.1", first.port)
        wait_until(lambda: all(_nodes(server).count(b"connected") == 6 for server in self.servers))
        for primary, replica in zip(self.servers[:3], self.servers[3:], strict=True):
            replica.ask("CLUSTER", "REPLICATE", _bytes(primary.ask("CLUSTER", "MYID")).decode())
        wait_until(lambda: all(_is_whole(server) for server in self.servers))

    @property
    def url(self) -> str:
        """What `cluster.store` says. Two are enough: they know the others."""
        return f"valkey+cluster://{','.join(f'127.0.0.1:{server.port}' for server in self.servers[:2])}"

    def primary(self) -> Valkey:
        """One of the primaries, not always the same one."""
        primaries = self._primaries()
        self._turn += 1
        return primaries[self._turn % len(primaries)]

    def _primaries(self) -> list[Valkey]:
        return [one for one in self.servers if one.answers and b"myself,master" in _nodes(one)]

    def serves(self) -> bool:
        """True if three of the servers that are there are primaries."""
        return len(self._primaries()) == 3

    def take_back(self, server: Valkey) -> None:
        """Makes a server a replica that was replaced and answers again, and waits until nothing is missing."""
        wait_until(lambda: all(_is_whole(one) for one in self.servers))
        wait_until(lambda: _is_in_sync(server))


def _is_in_sync(replica: Valkey) -> bool:
    return b"master_link_status:up" in _bytes(replica.ask("INFO", "replication"))


def _nodes(server: Valkey) -> bytes:
    return _bytes(server.ask("CLUSTER", "NODES"))


def _is_whole(server: Valkey) -> bool:
    told: Sequence[bytes] = _nodes(server).splitlines()
    replicas = [line for line in told if b"slave" in line]
    return len(replicas) == 3 and b"cluster_state:ok" in _bytes(server.ask("CLUSTER", "INFO"))


def _bytes(answer: object) -> bytes:
    assert isinstance(answer, bytes)
    return answer
