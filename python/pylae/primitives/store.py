"""A store that several processes share: `Store`."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import SecretStr

from pylae.cluster.settings import Cluster
from pylae.config.document.nodes import show_path
from pylae.config.document.sources import calling
from pylae.config.models.tls import ServiceTls, Texts
from pylae.engine import NativeReservation, NativeStore, NativeStoreWait, NativeStoreWakes, PlanError, pass_on_log
from pylae.errors import ConfigError, EngineError, Problem
from pylae.primitives.given import count, settings_of
from pylae.units import DurationLike

if TYPE_CHECKING:
    from pylae.settings.fields import ServiceTlsFields

__all__ = ["Store"]

_Decided = tuple[tuple[bool, int, int | None, int], NativeReservation]


class Store:
    """A Valkey or Redis server, several behind Sentinels, or a Cluster, in which processes count limits together.

    They share limits of the same name in stores of the same name. Nothing is connected before the first use or a `with`
    block, which wait half a second for the store at most. Then a thread keeps the connection. Several threads may use a
    store. A process that is forked later connects by itself.

    A program and a gateway never share limits, even if the store and the cluster have the same name.

        store = Store("valkey://10.0.0.5:6379", name="shop")
        limiter = RateLimiter(100, store=store, name="api")

    Raises ConfigError, with the line of the call, for settings that are wrong. If the store does not answer, limits do
    what `on_store_error` says, and no exception is raised.

    Args:
        url: Where the store is, as `cluster.store` of a configuration.
        name: What separates programs that use one server.
        node: Name of this process, for people.
        user: User of the store. The default is the user `default`.
        password: Password of the user.
        sentinel_user: User of the Sentinels, if they have users.
        sentinel_password: Password of the Sentinels, if they have one.
        tls: TLS to the store, only with `valkeys://`.
        timeout: How long a limit waits for an answer, by default 50 ms.
        flush: How often the store is told what limits with `mode="fast"` have admitted, by default every 20 ms.
        on_store_error: What limits do while the store does not answer. "share", the default: each process enforces the
            limit divided by the number of processes. "allow" admits everything, "deny" nothing.
        wait_replicas: Number of replicas that must have what `mode="exact"` takes.
        max_keys: Number of keys of all limits that this process knows at a time.
    """

    def __init__(
        self,
        url: str,
        /,
        *,
        name: str,
        node: str | None = None,
        user: str | None = None,
        password: str | SecretStr | None = None,
        sentinel_user: str | None = None,
        sentinel_password: str | SecretStr | None = None,
        tls: ServiceTls | ServiceTlsFields | None = None,
        timeout: DurationLike | None = None,
        flush: DurationLike | None = None,
        on_store_error: Literal["share", "allow", "deny"] | None = None,
        wait_replicas: int = 0,
        max_keys: int = 100_000,
    ) -> None:
        given: dict[str, Any] = {
            "store": url,
            "name": name,
            "node": node,
            "user": user,
            "password": password,
            "sentinel_user": sentinel_user,
            "sentinel_password": sentinel_password,
            "tls": tls,
            "timeout": timeout,
            "flush": flush,
            "on_store_error": on_store_error,
            "wait_replicas": wait_replicas,
        }
        settings = settings_of(Cluster, {setting: value for setting, value in given.items() if value is not None})
        if max_keys < 1:
            raise ValueError("max_keys must be at least 1")
        self._plan, self._max_keys = _plan(settings), count(max_keys)
        self._native: NativeStore | None = None
        self._closed, self._lock = False, threading.Lock()
        _STORES.add(self)

    @property
    def available(self) -> bool:
        """Whether the store answers."""
        return self.started().available

    @property
    def problem(self) -> str | None:
        """Why it does not answer, or None."""
        return self.started().problem

    @property
    def nodes(self) -> int:
        """Number of processes that use the store by this name, this one included. Others are known after a second."""
        return self.started().nodes

    def keys(self) -> int:
        """Number of keys of all limits that this process knows, including idle ones."""
        return 0 if (native := self._native) is None else native.keys()

    def close(self) -> None:
        """Tells the store what it does not know yet, and closes the connection. Limits cannot be used any more.

        It happens by itself when the interpreter ends.
        """
        with self._lock:
            self._closed, native, self._native = True, self._native, None
        if native is not None:
            self._finalizer()

    def __enter__(self) -> Self:
        self.started()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

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

    def wait(self, asked: NativeStoreWait) -> _Decided:
        """Waits for a decision."""
        decided = asked.wait()
        if decided is None:
            raise EngineError(_STUCK)
        return decided

    async def wait_async(self, asked: NativeStoreWait) -> _Decided:
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

_STORES: weakref.WeakSet[Store] = weakref.WeakSet()
"""Those of this process."""


def _forget_all() -> None:
    for store in tuple(_STORES):
        store.forget()


os.register_at_fork(after_in_child=_forget_all)


def _plan(settings: Cluster) -> str:
    """Returns the part of a plan that has these settings. Raises ConfigError for files that cannot be used."""
    texts = Texts()
    plan = settings.plan(texts, ())
    # No cluster of gateways can have this name: programs count apart from them.
    plan["name"] = f"programs/{settings.name}"
    compiled = json.dumps(plan)
    file, line = calling()
    problems = [
        *(Problem(file, line, None, show_path(one.path), one.message, one.hint) for one in texts.findings),
        *texts.problems,
    ]
    if not problems:
        try:
            NativeStore.check(compiled)
        except PlanError as error:
            found = json.loads(error.args[0])
            problems = [Problem(file, line, None, item["path"], item["message"]) for item in found]
    if problems:
        raise ConfigError(problems)
    return compiled


class _Wakes:
    """The tasks of one event loop that wait for a store."""

    def __init__(self) -> None:
        self._native, self._tokens = NativeStoreWakes(), itertools.count()
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def wait(self, asked: NativeStoreWait) -> _Decided:
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
