"""Checks whether the addresses of a configuration are free, and finds the processes that use them."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from pylae.config.models.admin import default_admin
from pylae.config.models.config import Config
from pylae.doctor.result import Result, failure, ok, warning

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTENING = "0A"
"""The state of a socket that listens, in the kernel's tables (proc(5))."""


def results(config: Config, running: int | None) -> Iterator[Result]:
    """Checks the addresses of the listeners and of the admin API.

    `running` is the process of the gateway that runs with this configuration; its addresses are expected to be in use.
    """
    for listener in config.listeners:
        yield _address("listener", listener.address, running)
    if config.admin is False:
        return
    name = "admin API"
    try:
        admin = config.admin or default_admin()
    except ValueError as error:
        yield failure(name, f"the variable PYLAE_ADMIN is not valid: {error}")
        return
    if admin is not None:
        found = _address(name, admin.address, running)
        # If the configuration does not mention the admin API, a gateway runs without it.
        by_default = config.admin is None and found.state == "failure"
        yield warning(name, f"{found.message}; a gateway would run without it", found.hint) if by_default else found


def _address(name: str, address: str, running: int | None) -> Result:
    if address.startswith("unix:"):
        return _unix(name, address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    if port == "0":
        return ok(name, f"{address}: the system will choose a port")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        with closing(socket.socket(family)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), int(port)))
            # Only listening sockets conflict, and only with sockets that listen.
            probe.listen(1)
    except OSError as error:
        return _taken(name, address, error, running)
    return ok(name, f"{address} is free")


def _taken(name: str, address: str, error: OSError, running: int | None) -> Result:
    if error.errno == errno.EADDRINUSE:
        owners = owners_of(int(address.rpartition(":")[2]))
        if running is not None and (running in owners or not owners):
            return ok(name, f"{address} is used by the running gateway of this configuration (process {running})")
        who = ", ".join(f"process {pid} ({_program(pid)})" for pid in owners)
        text = f"{address} is in use by {who or 'a process of another user'}"
        return failure(name, text, "stop it, or use another port")
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = (
            "start the gateway as root with `user` set, or give it CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities)"
        )
        return failure(name, f"this user may not listen on {address}", hint)
    if error.errno == errno.EADDRNOTAVAIL:
        hint = "`ip address` lists the addresses; 0.0.0.0 means all of them"
        return failure(name, f"no interface of this machine has the address {address}", hint)
    return failure(name, f"cannot listen on {address}: {error.strerror}")


def _unix(name: str, path: str) -> Result:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        folder = Path(path).parent
        if os.access(folder, os.W_OK | os.X_OK):
            return ok(name, f"{path} is free")
        return failure(name, f"cannot create a socket in {folder}", "create the folder, or let this user write to it")
    except OSError as error:
        return failure(name, f"cannot read {path}: {error.strerror}")
    if not stat.S_ISSOCK(mode):
        return failure(name, f"{path} is not a socket", "remove it, or choose another path")
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        answers = probe.connect_ex(path) == 0
    return ok(
        name, f"{path} {'is in use by a running gateway' if answers else 'was left behind by a gateway that has ended'}"
    )


def owners_of(port: int) -> list[int]:
    """Returns the processes that listen on a port, among those that this user can inspect."""
    sockets = set(_listening(port))
    if not sockets:
        return []
    processes = (folder for folder in Path("/proc").iterdir() if folder.name.isdigit())
    return sorted(int(folder.name) for folder in processes if _has(folder / "fd", sockets))


def _listening(port: int) -> Iterator[str]:
    for table in _TABLES:
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield f"socket:[{fields[9]}]"


def _has(descriptors: Path, sockets: set[str]) -> bool:
    with suppress(OSError):
        for descriptor in descriptors.iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) in sockets:
                    return True
    return False


def _program(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    return "gone by now"
