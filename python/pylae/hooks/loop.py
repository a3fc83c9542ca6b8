"""The asyncio loop for hooks that wait for something."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pylae.errors import HookError
from pylae.hooks.events import Event, parse

if TYPE_CHECKING:
    from pylae._native import Executor, Pieces, Request, Response, Task

log = logging.getLogger("pylae.hooks")

_STOP_TIMEOUT = 2.0
"""Seconds that hooks have to finish after the engine has stopped."""
_RETRY = 1.0
"""Seconds to wait after a loop could not be created."""


class _Call:
    """A call in progress."""

    __slots__ = ("error", "executor", "future", "key", "native", "result", "task")

    def __init__(self, native: Task, key: int, executor: Loop) -> None:
        self.native, self.key, self.executor = native, key, executor
        self.task: asyncio.Task[None] | None = None
        self.future: asyncio.Future[Response] | None = None
        self.result: Any = None
        self.error: BaseException | None = None

    def call_next(self, _: Request | None = None) -> asyncio.Future[Response]:
        if self.future is not None:
            raise HookError("call_next can be called once")
        self.future = self.executor.loop.create_future()
        # Only after this task has left its context, which other hooks of the exchange enter.
        self.executor.loop.call_soon(self._pass_on)
        return self.future

    def _pass_on(self) -> None:
        self.native.pass_on()
        self.executor.wake_workers_soon()

    def begin(self) -> Coroutine[Any, Any, None]:
        """Calls the hook, or resumes its coroutine. Raises what the hook raises."""
        called = self.native.call(self.call_next)
        return self._run(_carry_on(self, *called) if isinstance(called, tuple) else called)

    async def _run(self, hook: Coroutine[Any, Any, Any]) -> None:
        try:
            self.result = await hook
        except BaseException as error:
            # Every exception is the hook's own: neither SystemExit nor KeyboardInterrupt may end the loop.
            self.error = error

    def notify(self) -> None:
        """Delivers the response to `call_next`, once it has arrived."""
        if self.native.has_response and self.future is not None and not self.future.done():
            self.future.set_result(self.native.response())

    def done(self, _: asyncio.Task[None]) -> None:
        """Reports the outcome to the worker. Not done in `_run`, so that no exception ends the loop."""
        if not self.executor.forget(self):
            return
        error, self.error = self.error, None
        if error is None:
            self.native.finish(self.result)
        else:
            self.native.fail(error)
        self.executor.wake_workers_soon()

    def fail(self, error: BaseException) -> None:
        """Reports the failure of the call to the worker."""
        self.native.fail(error)
        self.executor.wake_workers_soon()


@types.coroutine
def _carry_on(call: _Call, hook: Coroutine[Any, Any, Any], yielded: Any) -> Generator[Any, Any, Any]:
    """Drives a coroutine that was suspended on a worker after it had yielded `yielded`."""
    from pylae._native import Next

    try:
        while True:
            try:
                sent = (yield from call.call_next()) if isinstance(yielded, Next) else (yield yielded)
            except BaseException as error:
                yielded = hook.throw(error)
            else:
                yielded = hook.send(sent)
    except StopIteration as end:
        return end.value


class _BodyStream:
    """A response body that passes through hooks."""

    __slots__ = ("changed", "executor", "key", "native", "pieces", "task")

    def __init__(self, native: Task, key: int, executor: Loop, pieces: Pieces) -> None:
        self.native, self.key, self.executor, self.pieces = native, key, executor, pieces
        self.task: asyncio.Task[None] | None = None
        self.changed = asyncio.Event()

    def notify(self) -> None:
        """Wakes all waiting tasks: a hook may read pieces in a task of its own."""
        self.changed.set()
        self.changed.clear()

    async def chunks(self) -> AsyncIterator[bytes]:
        while (piece := self.pieces.read()) is not None:
            if piece is False:
                await self.changed.wait()
            else:
                yield piece

    async def begin(self) -> None:
        try:
            async with contextlib.aclosing(self.pieces.call(self.chunks(), _adapt)) as output:
                async for piece in output:
                    if not self.pieces.write(piece):
                        while not self.pieces.has_room:
                            await self.changed.wait()
        except BaseException as error:
            self.pieces.fail(error)
        else:
            self.pieces.finish()

    def done(self, _: asyncio.Task[None]) -> None:
        """Marks the call as finished. The pieces have already reported the end of the body to the worker."""
        if self.executor.forget(self):
            self.native.end()

    def fail(self, error: BaseException) -> None:
        """Aborts the body."""
        self.pieces.fail(error)
        self.native.end()


async def _adapt(
    function: Callable[..., Any], request: Request, response: Response, chunks: AsyncIterator[bytes], as_events: bool
) -> AsyncIterator[bytes]:
    """Yields the body as the hook changes it."""
    async with contextlib.AsyncExitStack() as stack:
        pieces = parse(chunks) if as_events else chunks
        changed = function(request, response, pieces)
        for generator in (chunks, pieces, changed):
            if hasattr(generator, "aclose"):
                stack.push_async_callback(generator.aclose)
        async for piece in changed:
            if (as_events and isinstance(piece, Event)) or isinstance(piece, str):
                yield piece.encode()
            elif isinstance(piece, bytes | bytearray | memoryview):
                yield bytes(piece)
            else:
                raise TypeError(f"a hook yields bytes, text or events, not {type(piece).__name__}")


class Loop:
    """Runs the calls of the engine's executor until the engine stops."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._calls: dict[int, _Call | _BodyStream] = {}
        self._waking = False
        self.loop = self._new_loop()

    def serve(self) -> None:
        """Runs the loop on this thread. Restarts or replaces it if a hook stops or breaks it."""
        while not self._executor.stopped:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                # Raised in a task or callback that a hook created. The loop and everything on it are intact.
                log.exception("a task of a hook tried to end the asyncio loop of the hooks; the loop continues")
            except BaseException as error:
                log.exception("the asyncio loop of the hooks has ended; its calls fail, and a new loop starts")
                self._replace(error)
            else:
                if not self._executor.stopped:
                    log.error("a hook stopped the asyncio loop of the hooks; the loop continues")
        self._end()

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        """Creates a loop that takes calls; a uvloop if that is installed."""
        loop = _factory()()
        loop.add_reader(self._executor.fileno(), self._take_tasks)
        return loop

    def _replace(self, cause: BaseException) -> None:
        """Replaces the loop. All calls on the old one fail."""
        calls, self._calls = self._calls, {}
        # Prevents a callback on the broken loop.
        self._waking = True
        for call in calls.values():
            call.fail(HookError(f"the asyncio loop of the hooks has ended: {cause!r}"))
        self._wake_workers()
        broken = self.loop
        while True:
            try:
                self.loop = self._new_loop()
                break
            except OSError:
                log.exception("cannot create an asyncio loop for the hooks; trying again")
                time.sleep(_RETRY)
        with contextlib.suppress(Exception):
            # The broken loop may be in any state, and is no longer needed.
            broken.close()

    def _end(self) -> None:
        """Cancels all tasks and waits a short time for them to end."""

        async def cancel() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_STOP_TIMEOUT)
            await asyncio.wait_for(self.loop.shutdown_asyncgens(), _STOP_TIMEOUT)

        self.loop.remove_reader(self._executor.fileno())
        try:
            self.loop.run_until_complete(cancel())
        finally:
            self.loop.close()

    def _take_tasks(self) -> None:
        """Takes new calls from the executor, and notifies calls in progress."""
        calls = self._calls
        for native in self._executor.take_tasks():
            key = native.key
            call = calls.get(key)
            if call is None:
                if started := native.start():
                    self._start(
                        _Call(native, key, self) if started is True else _BodyStream(native, key, self, started)
                    )
            elif native.abandoned:
                if call.task is not None:
                    call.task.cancel()
            else:
                call.notify()
        if self._executor.stopped:
            self.loop.stop()

    def _start(self, call: _Call | _BodyStream) -> None:
        try:
            task = self.loop.create_task(call.begin(), context=call.native.context)
        except BaseException as error:
            call.fail(error)
            return
        call.task = task
        self._calls[call.key] = call
        task.add_done_callback(call.done)

    def forget(self, call: _Call | _BodyStream) -> bool:
        """Forgets a call that is over. Returns False if the call has already failed with its loop."""
        is_known = self._calls.get(call.key) is call
        if is_known:
            del self._calls[call.key]
        return is_known

    def wake_workers_soon(self) -> None:
        """Schedules one wake-up of the workers for all calls completed in this iteration of the loop."""
        if not self._waking:
            self._waking = True
            self.loop.call_soon(self._wake_workers)

    def _wake_workers(self) -> None:
        self._waking = False
        self._executor.wake_workers()


def _factory() -> Callable[[], asyncio.AbstractEventLoop]:
    with contextlib.suppress(ImportError):
        factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
        return factory
    return asyncio.new_event_loop


def serve(executor: Executor) -> None:
    """Runs on the loop's thread."""
    try:
        Loop(executor).serve()
    except BaseException:
        log.exception("the asyncio loop of the hooks has ended")
