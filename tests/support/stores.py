"""Real servers of stores: PostgreSQL and etcd."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from pylae.settings import StoreSettings
from pylae.store.engines import connected
from pylae.store.store import Store
from support.peer import wait_until
from support.programs import program
from support.relay import Relay

USER = "gateway"
SERVERS = ("postgresql", "etcd")
"""The engines that are servers."""


def _is_stopped(process: int) -> bool:
    """Whether all threads of a process are stopped, or it has ended."""
    with contextlib.suppress(OSError):
        stats = [file.read_text() for file in Path(f"/proc/{process}/task").glob("*/stat")]
        return all(one.rpartition(")")[2].split()[0] in "TZ" for one in stats)
    return False


class Server(ABC):
    """A server with data in a folder of its own, which it keeps when it is killed and started again."""

    def __init__(self) -> None:
        # Others than root must get in.
        self.folder = Path(tempfile.mkdtemp(prefix="pylae-store-", dir="/tmp"))
        self.folder.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._names = 0
        self._has_run = False
        try:
            self._prepare()
            # Another process may take the port meanwhile.
            for _ in range(10):
                with socket.create_server(("127.0.0.1", 0)) as free:
                    self.port = free.getsockname()[1]
                if self.start():
                    return
            raise AssertionError(f"no server has started: {(self.folder / 'log').read_text()}")
        except BaseException:
            self.stop()
            raise

    @abstractmethod
    def _prepare(self) -> None:
        """What is done once."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """What starts it."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it can be used."""

    @abstractmethod
    def settings(self, name: str | None = None, port: int | None = None, **others: Any) -> StoreSettings:
        """The settings of a store in it, a new one without a name, at another port if one is given."""

    def new_name(self) -> str:
        """A name that no store in it has."""
        self._names += 1
        return f"store_{self._names}"

    def start(self) -> bool:
        """Starts it, or starts it again with the same port. Returns False if it ends at once, the first time."""
        if not self._has_run:
            self._has_run = self._launch()
            return self._has_run
        # Children of PostgreSQL that are not quite dead yet keep it from starting.
        wait_until(self._launch)
        return True

    def _launch(self) -> bool:
        with (self.folder / "log").open("ab", buffering=0) as log:
            log.write(b"--- start ---\n")
            self._process = process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, start_new_session=True, cwd=self.folder
            )
        wait_until(lambda: process.poll() is not None or self._answers())
        return process.poll() is None

    def kill(self) -> None:
        """Ends it, and all processes that it has started, with SIGKILL."""
        if self._process:
            for group in self._groups():
                try:
                    os.killpg(group, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self._process.wait()
            self._process = None

    def _groups(self) -> list[int]:
        """It, and its children, which may have made sessions of their own."""
        assert self._process
        main = self._process.pid
        children = Path(f"/proc/{main}/task/{main}/children")
        return [main, *(int(word) for word in children.read_text().split())] if children.exists() else [main]

    def freeze(self) -> None:
        """Stops all its processes in the middle of what they do; connections stay open."""
        for group in self._groups():
            os.killpg(group, signal.SIGSTOP)
        # A thread that runs meanwhile may still answer.
        wait_until(lambda: all(_is_stopped(group) for group in self._groups()))

    def thaw(self) -> None:
        """Lets it go on."""
        for group in self._groups():
            os.killpg(group, signal.SIGCONT)

    def stop(self) -> None:
        """Ends it, and removes its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Postgresql(Server):
    """A server of PostgreSQL with a database `gateways` and a user who may make schemas in it, with a password."""

    password = "a-password-of-tests"

    def _prepare(self) -> None:
        self._bin = _postgresql()
        self._as = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        if self._as:
            program("setpriv", "util-linux")
            shutil.chown(data, "nobody", "nogroup")
        words = self.folder / "password"
        words.write_text(self.password)
        words.chmod(0o644)
        command = ["initdb", "-D", str(data), "-U", USER, "-A", "scram-sha-256", f"--pwfile={words}", "--no-sync"]
        made = [*self._as, str(self._bin / command[0]), *command[1:], "--locale=C.UTF-8", "--encoding=UTF8"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd="/tmp")

    def _command(self) -> Sequence[str]:
        # A kill is not a power loss: what is written is there, synchronised or not.
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 60,
        }
        said = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        data = str(self.folder / "data")
        return [*self._as, str(self._bin / "postgres"), "-D", data, "-p", str(self.port), *said]

    def secure(self, cert: bytes, key: bytes) -> None:
        """From the next start on, it speaks TLS too."""
        for name, content in (("server.crt", cert), ("server.key", key)):
            file = self.folder / "data" / name
            file.write_bytes(content)
            file.chmod(0o600)
            if self._as:
                shutil.chown(file, "nobody", "nogroup")
        with (self.folder / "data/postgresql.conf").open("a") as file:
            file.write("ssl = on\n")

    def _answers(self) -> bool:
        import psycopg

        try:
            with self.connect() as connection:
                if not connection.execute("select 1 from pg_database where datname = 'gateways'").fetchone():
                    connection.execute("create database gateways")
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, database: str = "postgres") -> Any:
        """A connection of its administrator."""
        import psycopg

        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=self.password, dbname=database, autocommit=True
        )

    def settings(self, name: str | None = None, port: int | None = None, **others: Any) -> StoreSettings:
        """As `Server.settings`."""
        url = f"postgresql://127.0.0.1:{port or self.port}/gateways/{name or self.new_name()}"
        return StoreSettings(**{"url": url, "user": USER, "password": self.password, **others})


class Etcd(Server):
    """A server of etcd, alone."""

    def _prepare(self) -> None:
        self._program = program("etcd", "etcd-server")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._peers = f"http://127.0.0.1:{free.getsockname()[1]}"
        self._pair: tuple[Path, Path] | None = None

    def secure(self, cert: Path, key: Path) -> None:
        """From the next start on, it speaks nothing but TLS."""
        self._pair = cert, key

    def _command(self) -> Sequence[str]:
        mine = f"http{'s' * (self._pair is not None)}://127.0.0.1:{self.port}"
        options = {
            "data-dir": str(self.folder / "data"),
            "listen-client-urls": mine,
            "advertise-client-urls": mine,
            "listen-peer-urls": self._peers,
            "initial-advertise-peer-urls": self._peers,
            "initial-cluster": f"default={self._peers}",
            "unsafe-no-fsync": "",
        }
        if self._pair:
            options |= {"cert-file": str(self._pair[0]), "key-file": str(self._pair[1])}
        # A member keeps its first address; a retry with another port begins anew.
        return [self._program, *(f"--{name}={value}" if value else f"--{name}" for name, value in options.items())]

    def _answers(self) -> bool:
        if self._pair:
            # Who asks must be known by then.
            return "ready to serve client requests" in (self.folder / "log").read_text().rpartition("--- start ---")[2]
        try:
            self.ask("/v3/kv/range", {"key": "AA=="})
        except OSError:
            return False
        return True

    def ask(self, path: str, body: Any) -> Any:
        """Calls it, beside Pylae."""
        import json
        import urllib.request

        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def settings(self, name: str | None = None, port: int | None = None, **others: Any) -> StoreSettings:
        """As `Server.settings`."""
        return StoreSettings(url=f"etcd://127.0.0.1:{port or self.port}/{name or self.new_name()}", **others)


def _postgresql() -> Path:
    """The folder with the programs of PostgreSQL: Debian has a folder for each version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda file: int(file.parts[-3]))
    if found:
        return found[-1].parent
    if path := shutil.which("postgres"):
        return Path(path).resolve().parent
    pytest.skip("postgres is not installed (Debian's package postgresql has it)")


@dataclass(frozen=True)
class Engine:
    """A store of its own for a test, without a schema."""

    name: str
    settings: StoreSettings
    folder: Path
    server: Server | None = None

    def connect(self, **others: Any) -> Store:
        """Connects to it; `others` are settings in place of its own, and `port` is that of a relay."""
        return connected(self.given(**others), self.folder, self.folder)

    def given(self, **others: Any) -> StoreSettings:
        """Its settings, with others in the place of some."""
        if self.server is None:
            return StoreSettings(**others)
        return self.server.settings(self.settings.url.rpartition("/")[2], **others)


def engine_of(name: str, request: pytest.FixtureRequest, folder: Path) -> Engine:
    """A store in an engine."""
    if name == "sqlite":
        return Engine(name, StoreSettings(), folder)
    server: Server = request.getfixturevalue(name)
    return Engine(name, server.settings(), folder, server)


class Cutting(Relay):
    """A relay that cuts all connections once it has passed on a number of bytes, both ways together."""

    left: int | None = None
    """How many it still passes on."""

    def _pass_on(self, source: socket.socket, target: socket.socket, *, is_late: bool = True) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                if is_late and self.delay:
                    time.sleep(self.delay)
                if self.left is not None:
                    piece = piece[: self.left]
                    self.left -= len(piece)
                target.sendall(piece)
                if self.left == 0:
                    self.cut()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
