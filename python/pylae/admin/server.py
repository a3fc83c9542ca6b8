"""The admin API as a thread of the control plane. It binds its address at once, so that a bad one is reported at the
start.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import stat
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylae import state
from pylae.admin import bounds
from pylae.admin.lasting import Lasting
from pylae.admin.token import token_file, token_of
from pylae.config.checks.crosscheck import admin_instances
from pylae.config.models.admin import VARIABLE, Admin, default_admin
from pylae.errors import EngineError

if TYPE_CHECKING:
    from pylae.admin.guard import Guard
    from pylae.admin.loop import AdminLoop
    from pylae.runtime.runtime import Runtime

log = logging.getLogger("pylae.admin")


def start(runtime: Runtime) -> Server | None:
    """Starts the admin API of a gateway, unless it is switched off.

    Raises ConfigError or EngineError. If the configuration does not mention the admin API, an address in use or a
    folder that cannot be written is only a warning, and the gateway runs without it.
    """
    said = runtime.builder.config.admin
    try:
        settings = said or default_admin()
    except ValueError as error:
        raise EngineError(f"the environment variable {VARIABLE} is not valid: {error}") from None
    if settings is None:
        return None
    if not said and next(admin_instances(runtime.builder.config, settings.address), None):
        log.warning(
            "the admin API is off, because %s is the address of an instance (set `admin` to another address)",
            settings.address,
        )
        return None
    try:
        server = Server(runtime, settings)
    except OSError as error:
        text = f"the admin API cannot listen on {settings.address}: {error.strerror or error}"
        if said or os.environ.get(VARIABLE):
            raise EngineError(text) from None
        log.warning("%s; the gateway runs without it (set `admin` to another address)", text)
        return None
    log.info("admin API on %s%s", "https://" if settings.tls else "", server.address)
    return server


class Server:
    """The running admin API. The engine owns its address, answers probes and hands over all other connections."""

    def __init__(self, runtime: Runtime, settings: Admin) -> None:
        self._runtime, self._settings = runtime, settings
        self._file = token_file(settings, runtime.folder, runtime.origin.parent)
        state.sweep(self._file.parent, self._file.name)
        self.token = token_of(settings, self._file, create=True) or ""
        self._path = settings.address.removeprefix("unix:") if settings.address.startswith("unix:") else None
        self._engine = runtime.engine
        hosts = None if self._path else settings.hosts
        with _unix(self._path) if self._path else _tcp(settings.address) as listening:
            self.address = settings.address if self._path else "{}:{}".format(*_shown(listening.getsockname()))
            self._watched = self._engine.serve_admin(
                listening, settings.address, hosts,
                connections=bounds.WAITING, head_time=bounds.HEAD_TIME, patience=bounds.PATIENCE,
                token=None if self._path else self.token,
            )  # fmt: skip
        self._woken, self._wake = os.pipe()
        self._guard: Guard | None = None
        self._loop: AdminLoop | None = None
        self._lock = threading.Lock()
        self.lasting = Lasting("pylae-admin-api", "the admin API", self._serve)
        """The thread that serves what the engine hands over."""
        self.lasting.start()

    def _wait_for_somebody(self) -> None:
        """Returns once the engine has a connection to hand over, or when it is stopped."""
        with selectors.DefaultSelector() as selector:
            for one in (self._watched, self._woken):
                selector.register(one, selectors.EVENT_READ)
            selector.select()

    def _serve(self) -> None:
        self._wait_for_somebody()
        if self.lasting.stopped.is_set():
            return
        # Imported here: it takes some time, and memory that a gateway of which nobody asks anything does without.
        from pylae.admin.app import application
        from pylae.admin.connection import Connection
        from pylae.admin.guard import Guard
        from pylae.admin.loop import AdminLoop

        app = application(self._runtime)
        with self._lock:
            if self.lasting.stopped.is_set():
                return
            hosts, tokens = frozenset(self._settings.hosts), self._runtime.access.tokens
            guard = Guard(app, self.token, hosts, tokens, unix=self._path is not None)
            # A copy of the descriptor, which stays open as long as the loop, however long that takes to end.
            watched = os.dup(self._watched)
            loop = AdminLoop(guard, Connection, watched, self._engine.next_admin_connection)
            self._guard, self._loop = guard, loop
        try:
            loop.run()
        finally:
            os.close(watched)

    @property
    def restarts(self) -> int:
        """How often the thread had ended and was started again."""
        return self.lasting.restarts

    @property
    def token_file(self) -> Path | None:
        """The file with the token; None if the configuration contains the token."""
        return None if self._settings.token is not None else self._file

    def token_by(self, said: Admin | bool | None) -> str:
        """Returns the token by a new configuration. Raises ConfigError or OSError, as at the start."""
        settings = self._following(said)
        if settings is None:
            return self.token
        file = token_file(settings, self._runtime.folder, self._runtime.origin.parent)
        return token_of(settings, file, create=True) or self.token

    def _following(self, said: Admin | bool | None) -> Admin | None:
        """Returns the settings of a new configuration, except those that need a restart."""
        if not isinstance(said, Admin):
            return None if said is False else Admin(address=self._settings.address)
        return said if said.address == self._settings.address else None

    def follow(self, said: Admin | bool | None, token: str) -> None:
        """Applies the admin settings of a new configuration, as far as they can change at run time, and its token."""
        settings = self._following(said)
        if settings is None:
            log.warning("restart the gateway to change the address of the admin API")
            return
        with self._lock:
            self._settings, self.token = settings, token
            self._engine.set_admin_hosts(settings.hosts)
            self._engine.set_admin_token(token)
            if self._guard is not None:
                self._guard.use_token(self.token)
                self._guard.hosts = frozenset(settings.hosts)

    def stop(self) -> None:
        """Ends it. May be called again."""
        with self._lock:
            if self.lasting.stopped.is_set():
                return
            self.lasting.stopped.set()
            if self._loop is not None:
                self._loop.should_exit = True
            os.write(self._wake, b"\0")
        self.lasting.join()
        for descriptor in (self._watched, self._woken, self._wake):
            os.close(descriptor)
        if self._path:
            with suppress(OSError):
                Path(self._path).unlink()


def _tcp(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=128)


def _shown(name: Any) -> tuple[str, int]:
    return (f"[{name[0]}]" if ":" in name[0] else name[0]), name[1]


def _unix(path: str) -> socket.socket:
    """Returns a socket that only its owner can use. Replaces one on which nobody listens any more."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode) and not _answers(path):
            Path(path).unlink()
    listening = socket.socket(socket.AF_UNIX)
    try:
        # Nobody can connect before `listen`, and by then the permissions are set.
        listening.bind(path)
        Path(path).chmod(0o600)
        listening.listen(128)
    except BaseException:
        listening.close()
        raise
    return listening


def _answers(path: str) -> bool:
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        return probe.connect_ex(path) == 0
