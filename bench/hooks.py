"""Hooks of the `hook_…` scenarios: what each costs shows against the same gateway without it."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import time

from pylae import Request


def sync(request: Request) -> None:
    """Reads one header and sets one."""
    request.headers["X-Tenant"] = request.headers.get("host", "")


def early(_: Request) -> None:
    """Nothing, before routing."""


async def driven(request: Request) -> None:
    """The same as a coroutine that is never suspended."""
    request.headers["X-Tenant"] = request.headers.get("host", "")


async def waiting(request: Request) -> None:
    """The same on the asyncio loop."""
    await asyncio.sleep(0)
    request.headers["X-Tenant"] = request.headers.get("host", "")


def blocking(request: Request) -> None:
    """The same on the pool of threads."""
    request.headers["X-Tenant"] = request.headers.get("host", "")


def busy50(request: Request) -> None:
    """50 µs of Python, and a header."""
    _compute(50)
    request.headers["X-Tenant"] = "busy"


def busy2000(request: Request) -> None:
    """2 ms of Python, and a header, on whatever core is free."""
    _spread()
    _compute(2000)
    request.headers["X-Tenant"] = "busy"


def beside(request: Request) -> None:
    """2 ms of Python, and a header, on the core of the load, to which it gives way."""
    _give_way()
    _compute(2000)
    request.headers["X-Tenant"] = "busy"


def _compute(microseconds: int) -> None:
    """Takes time of this thread, whoever else computes meanwhile."""
    end = time.thread_time_ns() + microseconds * 1000
    while time.thread_time_ns() < end:
        pass


@functools.cache
def _spread() -> None:
    """Lets this thread run on all cores. What is measured is pinned to one otherwise."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))


@functools.cache
def _give_way() -> None:
    """Moves this thread to core 1, and behind what else runs there."""
    os.sched_setaffinity(0, {1})
    os.setpriority(os.PRIO_PROCESS, 0, 10)


def burning(request: Request) -> None:
    """Never called: it stands on a route that nobody asks for, while its module burns the lock half of the time."""
    request.headers["X-Tenant"] = "burning"


def _burn() -> None:
    while True:
        end = time.perf_counter() + 0.01
        while time.perf_counter() < end:
            pass
        time.sleep(0.01)


def begin_burning() -> None:
    """Keeps the interpreter's lock for 10 ms of every 20."""
    threading.Thread(target=_burn, name="burning", daemon=True).start()
