"""Hooks that never return, and hooks that burn, leak, fork and raise everything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from chaos.client import Client, Load
from chaos.fronts import PylaeFront, until
from chaos.stage import Fault, Stage

_CODE = '''
import asyncio, ctypes, os, socket, time

ONE, OTHER = socket.socketpair()

class Own(BaseException):
    pass

RAISED = (SystemExit, KeyboardInterrupt, RecursionError, MemoryError, StopIteration, asyncio.CancelledError, Own)

def recv(request):
    """Waits in C without the interpreter's lock."""
    ONE.recv(1)

def held(request):
    """Waits in C and holds it."""
    ctypes.PyDLL(None).sleep(3600)

def quick(request):
    pass

def burn(request):
    while True:
        pass

kept = []

def leak(request):
    kept.append(bytearray(b"x" * (32 << 20)))

def fork(request):
    os.fork()

def fork_and_stay(request):
    if os.fork() == 0:
        time.sleep(60)

def raising(request):
    raise RAISED[int(request.headers["X-Kind"])]

def recursing(request):
    recursing(request)

async def raising_inline(request):
    raise RAISED[int(request.headers["X-Kind"])]

async def raising_on_loop(request):
    await asyncio.sleep(0)
    raise RAISED[int(request.headers["X-Kind"])]

def raising_on_pool(request):
    raise RAISED[int(request.headers["X-Kind"])]
'''
_KINDS = 7
_DRAIN, _GRACE, _AT_ONCE = 2.0, 2.0, 1.0
_P99 = 50.0
_SEEN = 1.0
"""Seconds until `/live` says that no worker answers."""


async def _hooked(stage: Stage, routes: Mapping[str, str], **options: object) -> PylaeFront:
    """A gateway that has routes with hooks; a hook on `app` too where that is planted."""
    own = ("app",) if stage.planted == "everywhere" else ()
    front = await stage.pylae(
        stage.instances(1),
        start=False,
        drain=_DRAIN,
        pylae={
            "hooks": [
                {"on_request": f"chaos_hooks:{hook}", "routes": [route, *own], **options}
                for route, hook in routes.items()
            ]
        },
        routes=[{"name": route, "prefix": f"/{route}", "service": "app"} for route in routes],
    )
    (front.setup.folder / "chaos_hooks.py").write_text(_CODE)
    await stage.start(front)
    return front


async def _stick(front: PylaeFront, count: int) -> list[asyncio.Task[object]]:
    """Calls the hook over so many connections, in two moments: those of the second go to workers that are not stuck.

    Nobody waits for the answers.
    """
    tasks = [asyncio.create_task(_swallowed(Client(front.port))) for _ in range(max(1, count // 2))]
    await asyncio.sleep(0.2)
    return tasks + [asyncio.create_task(_swallowed(Client(front.port))) for _ in range(count // 2)]


async def _swallowed(client: Client) -> object:
    with contextlib.suppress(OSError, EOFError, ValueError):
        return await client.ask("/stuck", patience=60)
    return None


async def _live(front: PylaeFront) -> int:
    """What `/live` says, without a token; 0 if it says nothing for half a second."""
    try:
        async with Client(front.admin) as client:
            return (await client.ask("/live", patience=0.5)).status
    except (OSError, EOFError, ValueError):
        return 0


async def _served(front: PylaeFront) -> bool:
    """Whether any worker answers a new client."""
    try:
        async with Client(front.port) as client:
            return (await client.ask(patience=0.5)).status == 200
    except (OSError, EOFError, ValueError):
        return False


async def _one_stuck(stage: Stage, front: PylaeFront, hook: str) -> None:
    await asyncio.sleep(2)
    load = (await stage.load()).h1(front.port, 10, patience=2, fresh=True)
    kept = (await stage.load()).h1(front.port, 10, patience=2)
    if stage.planted == "frozen":
        front.process.send(signal.SIGSTOP)
    await asyncio.sleep(2)
    live, health = await _live(front), "nothing"
    with contextlib.suppress(OSError, EOFError, ValueError):
        found = json.loads((await front.ask("/health", patience=2)).body)
        health = f"{found['status']}: {'; '.join(found['reasons'])}"
    await asyncio.gather(load.stop(), kept.stop())
    p99 = max(load.p99(), kept.p99())
    stage.check(f"one: unhooked p99 under {_P99:.0f} ms", p99 < _P99, f"{p99:.1f} ms")
    stage.check("one: no unhooked request fails", not load.failed + kept.failed, f"{load.told()}; kept: {kept.told()}")
    stage.check("one: /live is 200", live == 200, f"status {live}")
    stage.check("one: /health is degraded and names the hook", "degraded" in health and hook in health, health[:160])


async def _all_stuck(stage: Stage, front: PylaeFront, _: str) -> None:
    """`/live` fails while no worker answers, and only then."""
    began, silent, wrongly = time.monotonic(), 0.0, 0
    failed: float | None = None

    async def probe() -> int:
        nonlocal failed
        live = await _live(front)
        if live == 503 and failed is None:
            # Before the client beside it has given up, which takes half a second.
            failed = time.monotonic() - began
        return live

    while time.monotonic() - began < 4:
        served, live = await asyncio.gather(_served(front), probe())
        now = time.monotonic() - began
        silent = silent if served else max(silent, now)
        wrongly += live != 503 and not served and now > _SEEN + 0.5
        await asyncio.sleep(0.05)
    if silent > _SEEN + 0.5:
        # What is half a second old when it is seen was so before.
        stage.within("all: /live is 503", failed, _SEEN + 0.5)
        stage.check("all: /live is 503 while nobody answers", not wrongly, f"{wrongly} times not")
    else:
        stage.check("all: workers answer", await _live(front) == 200, "no worker stays stuck")


async def _end(stage: Stage, front: PylaeFront, words: str, *, twice: bool) -> None:
    if stage.planted == "deaf":
        front.process.send(signal.SIGSTOP)
    front.stop()
    bound = _AT_ONCE if twice else _DRAIN + _GRACE
    if twice:
        await asyncio.sleep(0.3)
        front.stop()
    stage.within(f"{words}: {'a second SIGTERM' if twice else 'SIGTERM'} ends it", await front.gone(bound + 1), bound)
    front.process.end(0)


def _stuck(hook: str) -> Callable[[Stage], Awaitable[None]]:
    async def run(stage: Stage) -> None:
        named = "quick" if stage.planted == "returning" else hook
        for words, count, judge in (("one", 1, _one_stuck), ("all", 24, _all_stuck)):
            for twice in (False, True):
                front = await _hooked(stage, {"stuck": named})
                tasks = await _stick(front, count)
                await (asyncio.sleep(0.5) if twice else judge(stage, front, hook))
                await _end(stage, front, words, twice=twice)
                await asyncio.gather(*tasks)

    return run


async def _misused(
    stage: Stage, hooks: Mapping[str, str], *, clients: int = _KINDS, **options: object
) -> tuple[PylaeFront, Load, Load]:
    """Calls hooks beside clients of a route without any; these two loads have ended."""
    front = await _hooked(stage, {"fine": "quick", **hooks}, **options)
    if "leaking" in hooks:
        _bound_memory(front)
    calls, plain = await stage.load(), await stage.load()
    for route in hooks:
        for kind in range(clients):
            calls.h1(front.port, 1, f"/{route}", f"X-Kind: {kind}", pace=0.2, patience=20)
    await asyncio.sleep(2)
    plain.h1(front.port, 10)
    if stage.planted == "killed":
        front.process.send(signal.SIGKILL)
    await asyncio.sleep(3)
    await asyncio.gather(plain.stop(), calls.stop())
    stage.check("unhooked requests are answered", not plain.failed and plain.good > 0, plain.told())
    stage.check("hooked requests have an answer", bool(calls.statuses) and not calls.broken, calls.told())
    status: object = "the process has ended"
    with contextlib.suppress(OSError, EOFError):
        async with Client(front.port) as client:
            status = (await client.ask("/fine")).status
    stage.check("another hook runs as before", status == 200, status)
    return front, plain, calls


def _bound_memory(front: PylaeFront) -> None:
    """Leaves it half a gigabyte more of addresses."""
    found = re.search(r"VmSize:\s+(\d+) kB", Path(f"/proc/{front.process.pid}/status").read_text())
    most = (int(found[1]) << 10) + (512 << 20) if found else 0
    resource.prlimit(front.process.pid, resource.RLIMIT_AS, (most, most))


async def _raise(stage: Stage) -> None:
    kinds = ["raising", "raising_inline", "raising_on_loop", "raising_on_pool", "recursing"]
    kinds = ["quick"] if stage.planted == "quiet" else kinds
    _, _, calls = await _misused(stage, {name.replace("_", "-"): name for name in kinds})
    stage.check("each that raises is a 500", set(calls.statuses) == {500}, dict(calls.statuses))


async def _burn(stage: Stage) -> None:
    hook = "quick" if stage.planted == "quiet" else "burn"
    front, plain, calls = await _misused(stage, {"burning": hook}, clients=1, timeout="200ms")
    stage.check(f"unhooked p99 under {_P99:.0f} ms", plain.p99() < _P99, f"{plain.p99():.1f} ms")
    stage.check("each that burns is a 500 in the end", set(calls.statuses) == {500}, dict(calls.statuses))
    with contextlib.suppress(OSError, EOFError):
        demoted = await front.figure("pylae_hook_demoted.*burn")
        stage.check("it is moved off the workers", demoted >= 1, f"{demoted:.0f}")


async def _leak(stage: Stage) -> None:
    _, _, calls = await _misused(stage, {"leaking": "quick" if stage.planted == "quiet" else "leak"}, clients=1)
    full = calls.statuses[500]
    stage.check("at its bound the hook fails, not the gateway", calls.good > 0 and full > 0, dict(calls.statuses))


async def _fork(stage: Stage) -> None:
    front, _, calls = await _misused(
        stage, {"forking": "fork_and_stay" if stage.planted == "staying" else "fork"}, clients=2
    )
    stage.check("who forks is answered once", not calls.failed, calls.told())

    def children() -> int:
        # Who has ended and was not waited for is the hook's; it takes a number and no more.
        return sum(not _ended(pid) for pid in front.process.tree()[1:])

    async def alone() -> bool:
        return children() == 0

    stage.check("no child goes on", await until(alone, 5), children())


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


_STUCK = {
    "returning": "the hook returns",
    "everywhere": "the hook stands on all routes",
    "frozen": "the whole process is stopped (SIGSTOP)",
    "deaf": "the process is stopped (SIGSTOP) when SIGTERM comes",
}
_KILLED = {"killed": "the process is killed meanwhile"}
_QUIET = {"quiet": "the hook does nothing"}
FAULTS = (
    Fault(
        "hook-recv",
        "hooks wait in recv(), without the interpreter's lock, on one worker and on all",
        _stuck("recv"),
        _STUCK,
    ),
    Fault(
        "hook-held", "hooks wait in C and hold the interpreter's lock, on one worker and on all", _stuck("held"), _STUCK
    ),
    Fault(
        "hook-raise",
        "hooks on worker, loop and pool raise SystemExit, KeyboardInterrupt, RecursionError, MemoryError, "
        "StopIteration, CancelledError and a BaseException of their own, and recur without end",
        _raise,
        {**_KILLED, **_QUIET},
    ),
    Fault(
        "hook-burn",
        "a hook computes without end",
        _burn,
        {**_KILLED, **_QUIET, "everywhere": "it stands on all routes"},
    ),
    Fault(
        "hook-leak", "a hook keeps 32 MB of each call, with 512 MB left to the process", _leak, {**_KILLED, **_QUIET}
    ),
    Fault("hook-fork", "a hook forks", _fork, {**_KILLED, "staying": "the child goes on"}),
)
