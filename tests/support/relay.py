"""A way to a server that a test can cut."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self


class Relay:
    """Passes connections on to a port of this machine, until it is cut. Then it refuses them, until it is mended."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.delay = 0.0
        """Seconds by which the server's answers are late."""
        self._open_way = threading.Event()
        self._open_way.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._is_cut = False
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Ends all connections and refuses others."""
        with self._lock:
            self._is_cut = True
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def hold(self) -> None:
        """Passes nothing on any more, and says so to nobody: connections stay open, and others can be made."""
        self._open_way.clear()

    def release(self) -> None:
        """Passes on what was held, and what comes."""
        self._open_way.set()

    def mend(self) -> None:
        """Passes connections on again."""
        with self._lock:
            self._is_cut = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                server = None if self._is_cut else _connection(self._port)
                if server is None:
                    client.close()
                    continue
                self._open += (client, server)
            thread = threading.Thread(target=self._relay, args=(client, server), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        with client, server:
            back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
            back.start()
            self._pass_on(client, server, is_late=False)
            back.join()

    def _pass_on(self, source: socket.socket, target: socket.socket, *, is_late: bool = True) -> None:
        # Either side may have gone.
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                if is_late and self.delay:
                    time.sleep(self.delay)
                self._open_way.wait()
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self.cut()
        self.release()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


def _connection(port: int) -> socket.socket | None:
    """A connection to a port, or None if it refuses."""
    with contextlib.suppress(OSError):
        return socket.create_connection(("127.0.0.1", port))
    return None
