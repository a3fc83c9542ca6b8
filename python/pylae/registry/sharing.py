"""The store of the cluster, as sources use it: what is told to it other nodes know."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

_THREADS = 4
"""Calls that wait for the store at once."""
AWAY = 3.0
"""Seconds without an answer of the store after which that is a trouble."""
_NOT_YET = "the store is not connected yet"

Answer = int | bytes | list[Any] | str | None
"""What a script returns; a text says why there is nothing. Whoever reads it must take it for written by a stranger."""


def why(answer: str) -> str:
    """Why there is no answer, in words that are the same as long as it is so."""
    return answer if answer.startswith("the store refused") else "the store does not answer"


class Calls(Protocol):
    """The native side of the store."""

    def run(self, script: str, calls: list[tuple[bytes, list[bytes]]]) -> list[Any]:
        """Runs a script for each of some keys with arguments. Waits for the cluster's `timeout` at most."""


class RegistryStore:
    """The store of the cluster that the gateway is a node of. Until it is attached, it does not answer."""

    def __init__(self) -> None:
        self.node = secrets.token_hex(8)
        """A name of this node, for as long as it runs."""
        self.turn = threading.Lock()
        """Held during an exchange of registrations, so that answers come in their order."""
        self._native: Calls | None = None
        self._threads: ThreadPoolExecutor | None = None

    @property
    def attached(self) -> bool:
        """Whether there is a connection to it, though that may be broken."""
        return self._native is not None

    def attach(self, native: Calls) -> None:
        """Gives it the connection."""
        self._native = native

    def run(self, script: str, calls: Sequence[tuple[str, Sequence[bytes]]]) -> list[Answer]:
        """Runs a script for each of some keys with arguments. Blocks for as long as the cluster's `timeout`."""
        if self._native is None:
            return [_NOT_YET] * len(calls)
        return self._native.run(script, [(key.encode(), list(arguments)) for key, arguments in calls])

    async def call(self, script: str, key: str, *arguments: object) -> Answer:
        """Runs a script for a key, on a thread of its own."""
        if self._native is None:
            return _NOT_YET
        encoded = [str(argument).encode() for argument in arguments]
        loop = asyncio.get_running_loop()
        return (await loop.run_in_executor(self.threads(), self.run, script, [(key, encoded)]))[0]

    def threads(self) -> ThreadPoolExecutor:
        """The threads that wait for it."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, "pylae-registry-store")
        return self._threads

    def close(self) -> None:
        """Ends the threads."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
            self._threads = None
