"""The socket in a state folder. The gateway that uses the folder listens on it, and its user's commands connect to
it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import socket
import stat
import struct
import weakref
from collections.abc import Iterator
from pathlib import Path

NAME = "admin.sock"
_LONGEST = 107
"""Longest path of a socket, in bytes (`sun_path`, unix(7))."""
_CREDENTIALS = struct.Struct("3i")


class Listening:
    """The state folder of a gateway and, once no other gateway uses it, the socket in it."""

    def __init__(self, folder: Path) -> None:
        """Opens the folder, and creates it if it does not exist. Raises OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder
        self._folder: int | None = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.socket: socket.socket | None = None
        """The listening socket, if the folder was taken."""
        _open.add(self)

    def take(self) -> bool:
        """Listens, unless another gateway uses the folder, in this process or another one. Raises OSError."""
        if self._folder is None:
            return False
        try:
            # The lock ends with the process. Without a lock, an existing socket belongs to no process.
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._remove()
        listening = socket.socket(socket.AF_UNIX)
        try:
            # Nobody can connect before `listen`, and by then the permissions are set.
            listening.bind(_address(self._path, self._folder))
            os.chmod(NAME, 0o600, dir_fd=self._folder)
            listening.listen(128)
        except BaseException:
            listening.close()
            raise
        self.socket = listening
        return True

    def close(self) -> None:
        """Removes the socket and releases the folder."""
        if self._folder is None:
            return
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self._remove()
        self.forget()

    def forget(self) -> None:
        """Closes what this process has of it, and leaves it to other processes that share it."""
        if self.socket is not None:
            self.socket.close()
        if self._folder is not None:
            os.close(self._folder)
        self.socket = self._folder = None

    def _remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(NAME, dir_fd=self._folder, follow_symlinks=False).st_mode):
                os.unlink(NAME, dir_fd=self._folder)


_open: weakref.WeakSet[Listening] = weakref.WeakSet()


def _forget_all() -> None:
    for one in list(_open):
        one.forget()


# A child that a hook has forked may outlive the gateway, and must not block the next one.
os.register_at_fork(after_in_child=_forget_all)


def connect(folder: Path, patience: float | None) -> socket.socket:
    """Connects to the gateway that uses a state folder. `patience` is in seconds.

    Raises OSError: FileNotFoundError or ConnectionRefusedError if no gateway runs, PermissionError if it belongs to
    another user.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(patience)
        with _opened(folder) as descriptor:
            connection.connect(_address(folder, descriptor))
        if not is_trusted(connection) and os.geteuid() != 0:
            raise PermissionError(f"a process of another user listens in {folder}")
    except BaseException:
        connection.close()
        raise
    return connection


def is_trusted(connection: socket.socket) -> bool:
    """Returns true if the process at the other end belongs to the same user or to root (SO_PEERCRED, unix(7)).

    True if the system cannot tell; the permissions of the socket also keep other users out.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    _, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return user in (0, os.geteuid())


def user_of(connection: socket.socket) -> str | None:
    """Returns the user of the process at the other end, by name or else by number; None if the system cannot tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    _, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def peer_of(connection: socket.socket) -> int | None:
    """Returns the process at the other end; None if the system cannot tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    process, _, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(process) or None


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _address(folder: Path, descriptor: int) -> str:
    """Yields the address of the socket in a folder: its path, or a shorter one that works while the folder is open."""
    path = str(folder / NAME)
    return path if len(os.fsencode(path)) <= _LONGEST else f"/proc/self/fd/{descriptor}/{NAME}"
