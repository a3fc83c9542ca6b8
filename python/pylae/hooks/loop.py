"""The asyncio loop that hooks run on which wait for something."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pylae.errors import HookError
from pylae.hooks.events import Event, parse

if TYPE_CHECKING:
    from pylae._native import Lane, Pieces, Request, Response, Task

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


class _Flow:
    """A body that passes hooks."""

    __slots__ = ("loop", "moved", "native", "pieces", "task")

    def __init__(self, native: Task, pieces: Pieces, loop: asyncio.AbstractEventLoop) -> None:
        self.native, self.pieces, self.loop = native, pieces, loop
        self.task: asyncio.Task[None] | None = None
        self.moved: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.moved is not None and not self.moved.done():
            self.moved.set_result(None)

    async def news(self) -> None:
        """Waits until the worker has given or taken a piece."""
        self.moved = self.loop.create_future()
        await self.moved

    async def chunks(self) -> AsyncIterator[bytes]:
        while (piece := self.pieces.take()) is not None:
            if piece is False:
                await self.news()
            else:
                yield piece

    async def run(self) -> None:
        try:
            async with contextlib.aclosing(self.pieces.call(self.chunks(), _adapt)) as changed:
                async for piece in changed:
                    if not self.pieces.give(piece):
                        while not self.pieces.room:
                            await self.news()
        except BaseException as error:
            self.pieces.fail(error)
        else:
            self.pieces.finish()


async def _adapt(
    function: Callable[..., Any], request: Request, response: Response, chunks: AsyncIterator[bytes], as_events: bool
) -> AsyncIterator[bytes]:
    """What a hook makes of a body."""
    async with contextlib.AsyncExitStack() as stack:
        pieces = parse(chunks) if as_events else chunks
        changed = function(request, response, pieces)
        for one in (chunks, pieces, changed):
            if hasattr(one, "aclose"):
                stack.push_async_callback(one.aclose)
        async for piece in changed:
            if (as_events and isinstance(piece, Event)) or isinstance(piece, str):
                yield piece.encode()
            elif isinstance(piece, bytes | bytearray | memoryview):
                yield bytes(piece)
            else:
                raise TypeError(f"a hook yields bytes, text or events, not {type(piece).__name__}")


class Loop:
    """Serves the engine's lane of calls until the engine stops."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._calls: dict[int, _Call | _Flow] = {}

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
                    pieces = native.pieces()
                    if pieces is None:
                        self._start(_Call(native, loop))
                    else:
                        self._stream(_Flow(native, pieces, loop))
            elif native.abandoned:
                if call.task is not None:
                    call.task.cancel()
            elif isinstance(call, _Flow):
                call.wake()
            elif native.answered and call.future is not None and not call.future.done():
                call.future.set_result(native.response())
        if self._lane.stopped:
            stopped.set()

    def _stream(self, flow: _Flow) -> None:
        key, native = flow.native.key, flow.native
        self._calls[key] = flow
        flow.task = flow.loop.create_task(flow.run(), context=native.context)

        def done(_: asyncio.Task[None]) -> None:
            self._calls.pop(key, None)
            native.end()

        flow.task.add_done_callback(done)

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
