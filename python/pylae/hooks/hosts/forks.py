"""The process from which hook hosts are forked, as the gateway has it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pylae.config.builder import ConfigBuilder
from pylae.errors import EngineError
from pylae.hooks.hosts.recipe import Recipe, hosted, recipe_of, refused
from pylae.hooks.hosts.server import BEGIN

log = logging.getLogger("pylae.hooks")

LOAD = 60.0
"""Seconds that loading the hooks, and the start of a host, may take."""
END = 2.0
"""Seconds that a process has to take what it is sent, and to end."""
MOST_BYTES = 1024 * 1024
"""Most bytes of a message of a process."""
_MOST_DESCRIPTORS = 200
"""Descriptors that are sent at once."""


class Forked(NamedTuple):
    """A process that was forked."""

    number: int
    """The number that it was asked for by."""
    process: int
    ends: int
    """Descriptor that is readable once the process has ended."""


class Forks:
    """The process that has loaded the hooks of a configuration, and forks hosts."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.socket: socket.socket | None = None
        """Readable once it has something to tell; None while there is no such process."""
        self._process: subprocess.Popen[bytes] | None = None

    def load(self, deadline: float) -> None:
        """Starts the process. Raises EngineError if it has not loaded the hooks by `deadline` (monotonic seconds)."""
        own, given = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with given:
            self._process = process = subprocess.Popen(  # noqa: S603 (this interpreter, with a program of ours)
                [sys.executable, *subprocess._args_from_interpreter_flags(), "-c", BEGIN, str(given.fileno())],  # type: ignore[attr-defined]
                stdin=subprocess.PIPE,
                pass_fds=[given.fileno()],
                # Signals of a terminal are for the gateway.
                process_group=0,
            )
        self.socket = own
        with contextlib.suppress(BrokenPipeError):
            if process.stdin is not None:
                # A gateway that is no longer root has become that user, and so has what it starts.
                user = self._recipe["user"] if os.geteuid() == 0 else None
                with process.stdin as recipe:
                    recipe.write(json.dumps({**self._recipe, "user": user}).encode())
        while True:
            own.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                told = _received(own)
            except TimeoutError:
                raise EngineError(f"the hooks are not loaded after {LOAD:.0f} s") from None
            if told is None:
                raise EngineError("the process that loads the hooks for the hook hosts has ended")
            if "failed" in told:
                raise EngineError(f"hook hosts cannot load the hooks: {told['failed']}")
            if "threads" in told:
                log.warning(
                    "loading the hooks starts %d threads, which hook hosts do not have: start them at the first call",
                    told["threads"],
                )
            if "ready" in told:
                return

    def ask(self, number: int, descriptors: Sequence[int]) -> None:
        """Asks for a host, which gets the descriptors. Raises OSError if the process does not take that."""
        server = self.socket
        if server is None:
            return
        server.settimeout(END)
        for start in range(0, len(descriptors), _MOST_DESCRIPTORS):
            rest = descriptors[start:]
            asked = {"number": number, "more": len(rest) > _MOST_DESCRIPTORS}
            socket.send_fds(server, [json.dumps(asked).encode()], rest[:_MOST_DESCRIPTORS])

    def forked(self) -> Iterator[Forked]:
        """The hosts that were forked since the last time. If the process has ended, the socket is None afterwards."""
        server = self.socket
        if server is None:
            return
        server.settimeout(0)
        try:
            while (told := _received(server)) is not None:
                if "ended" not in told:
                    yield Forked(told["number"], told["process"], told["descriptors"][0])
        except BlockingIOError:
            return
        except ConnectionError:
            pass
        server.close()
        self.socket = None
        if self._process is not None:
            self._process.wait()

    def close(self) -> None:
        """Ends the process, which has no hosts any more, and waits for it."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        if self._process is not None:
            try:
                self._process.wait(END)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def check(builder: ConfigBuilder, plan: Mapping[str, Any]) -> None:
    """Has the hooks of a configuration loaded as for hook hosts, if it wants some. Raises ConfigError."""
    if not hosted(builder):
        return
    forks = Forks(recipe_of(builder, plan, None))
    try:
        forks.load(time.monotonic() + LOAD)
    except EngineError as error:
        raise refused(builder, error) from None
    finally:
        forks.close()


def _received(server: socket.socket) -> dict[str, Any] | None:
    message, descriptors, _, _ = socket.recv_fds(server, MOST_BYTES, 8)
    if not message:
        return None
    return {**json.loads(message), "descriptors": descriptors}
