"""Connects limiters of Python with a store: starts what drives it, waits for decisions."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import weakref

from pylae.engine import NativeReservation, NativeStore, NativeStoreWait, NativeStoreWakes, pass_on_log
from pylae.errors import EngineError

Decided = tuple[tuple[bool, int, int | None, int], NativeReservation]
"""The figures of a `Decision`, and what settles it."""


class StoreClient:
    """The engine's side of a store. It is started by the first use, in each process that uses it.

    `plan` is that of a cluster.
    """

    def __init__(self, plan: str, max_keys: int) -> None:
        self._plan, self._max_keys = plan, max_keys
        self._native: NativeStore | None = None
        self._closed, self._lock = False, threading.Lock()
        _CLIENTS.add(self)

    def started(self) -> NativeStore:
        """Returns the engine's side, and starts it if necessary."""
        if (native := self._native) is not None:
            return native
        with self._lock:
            if self._closed:
                raise ValueError("the store is closed")
            if self._native is None:
                native = NativeStore(self._plan, self._max_keys)
                threading.Thread(target=pass_on_log, args=(native,), name="pylae-store-log", daemon=True).start()
                self._finalizer = weakref.finalize(self, native.close)
                self._native = native
            return self._native

    async def started_async(self) -> NativeStore:
        """The same for asyncio."""
        if (native := self._native) is not None:
            return native
        return await asyncio.get_running_loop().run_in_executor(None, self.started)

    def keys(self) -> int:
        """Number of keys that are known, including idle ones."""
        return 0 if (native := self._native) is None else native.keys()

    def close(self) -> None:
        """Tells the store the rest, and ends what drives it."""
        with self._lock:
            self._closed, native, self._native = True, self._native, None
        if native is not None:
            self._finalizer()

    def wait(self, asked: NativeStoreWait) -> Decided:
        """Waits for a decision."""
        decided = asked.wait()
        if decided is None:
            raise EngineError(_STUCK)
        return decided

    async def wait_async(self, asked: NativeStoreWait) -> Decided:
        """Waits for a decision without blocking the event loop."""
        try:
            async with asyncio.timeout(asked.patience):
                return await _wakes().wait(asked)
        except TimeoutError:
            raise EngineError(_STUCK) from None
        finally:
            # What a task that was cancelled has got comes back, even if something keeps its frame.
            asked.abandon()

    def forget(self) -> None:
        """Has a forked process begin anew: it does not have the threads of its parent."""
        self._lock = threading.Lock()
        if self._native is not None:
            self._finalizer.detach()
            self._native = None


_STUCK = "the store was closed meanwhile, or the thread that drives it does not go on"

_CLIENTS: weakref.WeakSet[StoreClient] = weakref.WeakSet()
"""Those of this process."""


def _forget_all() -> None:
    for client in tuple(_CLIENTS):
        client.forget()


os.register_at_fork(after_in_child=_forget_all)


class _Wakes:
    """The tasks of one event loop that wait for a store."""

    def __init__(self) -> None:
        self._native, self._tokens = NativeStoreWakes(), itertools.count()
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def wait(self, asked: NativeStoreWait) -> Decided:
        token = next(self._tokens)
        while (decided := asked.poll(self._native, token)) is None:
            await self._woken(token)
        return decided

    async def _woken(self, token: int) -> None:
        loop = asyncio.get_running_loop()
        # The loop has the descriptor only while a task waits, so it may be closed at any other time.
        if not self._waiting:
            loop.add_reader(self._native.fileno(), self._wake)
        self._waiting[token] = future = loop.create_future()
        try:
            await future
        finally:
            del self._waiting[token]
            if not self._waiting:
                loop.remove_reader(self._native.fileno())

    def _wake(self) -> None:
        for token in self._native.take():
            future = self._waiting.get(token)
            if future is not None and not future.done():
                future.set_result(None)


_WAKES: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Wakes] = weakref.WeakKeyDictionary()


def _wakes() -> _Wakes:
    loop = asyncio.get_running_loop()
    if (wakes := _WAKES.get(loop)) is None:
        wakes = _WAKES[loop] = _Wakes()
    return wakes
