"""The asyncio loop that hooks run on which wait for something."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import types
from collections.abc import Callable, Coroutine, Generator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pylae.errors import HookError

if TYPE_CHECKING:
    from pylae._native import Lane, Request, Response, Task

log = logging.getLogger("pylae")

_FAREWELL = 2.0
"""Seconds that hooks have to end after the engine has stopped."""


class _Call:
    """A call under way."""

    __slots__ = ("error", "future", "loop", "native", "result", "task")

    def __init__(self, native: Task, loop: asyncio.AbstractEventLoop) -> None:
        self.native, self.loop = native, loop
        self.task: asyncio.Task[None] | None = None
        self.future: asyncio.Future[Response] | None = None
        self.result: Any = None
        self.error: BaseException | None = None

    def call_next(self, _: Request | None = None) -> asyncio.Future[Response]:
        if self.future is not None:
            raise HookError("call_next can be called once")
        self.future = self.loop.create_future()
        # Once this task has left its context, which other hooks of the exchange enter.
        self.loop.call_soon(self.native.pass_on)
        return self.future

    async def run(self, hook: Coroutine[Any, Any, Any]) -> None:
        try:
            self.result = await hook
        except BaseException as error:
            # Whatever it is, it is the hook's: neither SystemExit nor KeyboardInterrupt may end the loop.
            self.error = error

    def report(self) -> None:
        """Tells the worker what it has come to. Not from within `run`, for the same reason."""
        error, self.error = self.error, None
        if error is None:
            self.native.finish(self.result)
        else:
            self.native.fail(error)


@types.coroutine
def _carry_on(call: _Call, hook: Coroutine[Any, Any, Any], yielded: Any) -> Generator[Any, Any, Any]:
    """Goes on with a coroutine that was suspended on a worker when it had yielded this."""
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


class Loop:
    """Serves the engine's lane of calls until the engine stops."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._calls: dict[int, _Call] = {}

    def serve(self) -> None:
        """Runs the loop on this thread: uvloop's where it is installed."""
        with asyncio.Runner(loop_factory=_factory()) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        loop.add_reader(self._lane.fileno(), self._take, loop, stopped)
        await stopped.wait()
        loop.remove_reader(self._lane.fileno())
        tasks = [call.task for call in self._calls.values() if call.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_FAREWELL)

    def _take(self, loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
        """Takes all calls that have come, and the news of those under way."""
        for native in self._lane.take():
            call = self._calls.get(native.key)
            if call is None:
                if native.start():
                    self._start(_Call(native, loop))
            elif native.abandoned:
                if call.task is not None:
                    call.task.cancel()
            elif native.answered and call.future is not None and not call.future.done():
                call.future.set_result(native.response())
        if self._lane.stopped:
            stopped.set()

    def _start(self, call: _Call) -> None:
        native = call.native
        begun = native.begun()
        try:
            hook = native.call(call.call_next) if begun is None else _carry_on(call, *begun)
            call.task = call.loop.create_task(call.run(hook), context=native.context)
        except BaseException as error:
            native.fail(error)
            return
        key = native.key
        self._calls[key] = call

        def done(_: asyncio.Task[None]) -> None:
            self._calls.pop(key, None)
            call.report()

        call.task.add_done_callback(done)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    with contextlib.suppress(ImportError):
        factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
        return factory
    return None


def serve(lane: Lane) -> None:
    """The life of the loop's thread."""
    try:
        Loop(lane).serve()
    except BaseException:
        log.exception("the asyncio loop of the hooks has ended")
