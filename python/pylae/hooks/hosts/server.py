"""The process from which hook hosts are forked. It has loaded the hooks, and has one thread."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pylae.errors import ConfigError
from pylae.hooks.hosts import host
from pylae.hooks.hosts.recipe import Recipe, loaded

_MOST_BYTES = 64 * 1024
_MOST_DESCRIPTORS = 253
"""As many as the kernel passes at once (SCM_MAX_FD)."""

BEGIN = (
    "import json, sys; given = json.load(sys.stdin); sys.path[:] = given['search']; "
    "from pylae.hooks.hosts import server; server.main(given, int(sys.argv[1]))"
)
"""The program of the process. It reads the recipe from standard input; its argument is the socket to the gateway."""


def main(recipe: Recipe, descriptor: int) -> None:
    """Loads the hooks, and forks a host whenever the gateway asks for one, until the gateway is gone."""
    control = socket.socket(fileno=descriptor)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        # It ends with the gateway, which those signals are for.
        signal.signal(number, signal.SIG_IGN)
    sys.argv = recipe["arguments"] or [""]
    if (user := recipe["user"]) is not None:
        os.setgroups(user[2])
        os.setgid(user[1])
        os.setuid(user[0])
    for name, level in recipe["levels"].items():
        logging.getLogger(name or None).setLevel(level)
    try:
        functions = loaded(recipe)
    except ConfigError as error:
        _tell(control, failed="; ".join(map(str, error.problems)))
        return
    except BaseException as error:
        _tell(control, failed=f"{type(error).__name__}: {error}")
        return
    # What is loaded is shared with the hosts as long as nobody writes to it.
    gc.collect()
    gc.freeze()
    if threads := _threads():
        _tell(control, threads=threads)
    # It ends with the gateway, which closes its end or breaks off.
    with contextlib.suppress(ConnectionError):
        _tell(control, ready=True)
        _Server(control, json.dumps(recipe["names"]), functions).run()


def _threads() -> int:
    """Threads besides this one. A host has none of them, and may wait for them in vain."""
    try:
        return len(list(Path("/proc/self/task").iterdir())) - 1
    except OSError:
        return 0


def _tell(control: socket.socket, descriptors: list[int] | None = None, **what: Any) -> None:
    socket.send_fds(control, [json.dumps(what).encode()], descriptors or [])


class _Server:
    def __init__(self, control: socket.socket, names: str, functions: list[Callable[..., Any] | None]) -> None:
        self._control, self._names, self._functions = control, names, functions
        self._hosts: dict[int, int] = {}
        """Processes by the descriptors that say when they end."""
        self._received: list[int] = []

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor != self._control.fileno():
                    poll.unregister(descriptor)
                    self._bury(descriptor)
                elif not self._take(poll):
                    return

    def _take(self, poll: select.poll) -> bool:
        """Does what the gateway asks for. Returns False if it is gone."""
        message, descriptors, _, _ = socket.recv_fds(self._control, _MOST_BYTES, _MOST_DESCRIPTORS)
        if not message:
            return False
        self._received += descriptors
        asked = json.loads(message)
        if asked["more"]:
            return True
        received, self._received = self._received, []
        process = os.fork()
        if process == 0:
            self._control.close()
            for descriptor in self._hosts:
                os.close(descriptor)
            host.run(self._names, self._functions, received)
        for descriptor in received:
            os.close(descriptor)
        ends = os.pidfd_open(process)
        self._hosts[ends] = process
        poll.register(ends, select.POLLIN)
        _tell(self._control, [ends], number=asked["number"], process=process)
        return True

    def _bury(self, descriptor: int) -> None:
        process = self._hosts.pop(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(process, 0)
        _tell(self._control, ended=process, status=os.waitstatus_to_exitcode(status))
