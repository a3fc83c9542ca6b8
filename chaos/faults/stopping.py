"""Stop under load, with streams."""

from __future__ import annotations

import asyncio
import signal

from chaos.client import Client
from chaos.stage import Fault, Stage

_DRAIN = 3.0
_GRACE = 2.0
"""Seconds behind the drain within which a process has to end."""
_AT_ONCE = 1.0


async def _streams(port: int, tenths: int, count: int) -> list[asyncio.Task[bool]]:
    """Streams that have begun; each says at last whether it came whole."""

    async def one() -> bool:
        async with Client(port) as client:
            try:
                body = (await client.ask(f"/stream/{tenths}", patience=120)).body
            except (OSError, EOFError, ValueError):
                return False
            return body == b"piece" * tenths

    tasks = [asyncio.create_task(one()) for _ in range(count)]
    await asyncio.sleep(0.5)
    return tasks


async def _run(stage: Stage) -> None:
    instances = stage.instances()
    # What is under way finishes.
    front = await stage.front(instances, drain=_DRAIN)
    for instance in instances:
        await instance.behave("failing" if stage.planted == "failing" else "well")
    load = (await stage.load()).h1(front.port, 10, pace=0.01)
    whole = await _streams(front.port, 20, 20)
    if stage.planted == "killed":
        front.process.send(signal.SIGKILL)
    elif stage.planted == "frozen":
        front.process.send(signal.SIGSTOP)
    front.stop()
    gone = await front.gone(_DRAIN + _GRACE + 1)
    front.process.end(0)
    finished = sum(await asyncio.gather(*whole))
    await load.stop()
    # A client may learn of the end by what it asks; what was answered before is counted.
    stage.check("20 of 20 streams of 2 s finish", finished == 20, f"{finished} of 20")
    stage.within("then it ends", gone, _DRAIN + _GRACE)
    stage.check("no answer is an error", load.good == sum(load.statuses.values()), load.told())

    # What takes longer than the drain is cut off.
    front = await stage.front(instances, drain=_DRAIN)
    endless = await _streams(front.port, 600, 20)
    front.stop()
    if stage.planted == "frozen":
        front.process.send(signal.SIGSTOP)
    stage.within("with streams of 60 s it ends", await front.gone(_DRAIN + _GRACE + 1), _DRAIN + _GRACE)
    front.process.end(0)
    await asyncio.gather(*endless)

    # A second signal does not wait.
    front = await stage.front(instances, drain=30)
    endless = await _streams(front.port, 600, 20)
    front.stop()
    await asyncio.sleep(0.5)
    if stage.planted != "deaf":
        front.process.send(front.at_once)
    stage.within("a second signal ends it", await front.gone(_AT_ONCE + 1), _AT_ONCE)
    front.process.end(0)
    await asyncio.gather(*endless)


FAULTS = (
    Fault(
        "stop",
        "SIGTERM under 10 clients and 20 streams of 2 s; with streams of 60 s; and a second signal",
        _run,
        {
            "killed": "SIGKILL in place of the first SIGTERM",
            "frozen": "the process is stopped (SIGSTOP) when the signal comes",
            "deaf": "the second signal is not sent",
            "failing": "the instances answer 503",
        },
        ("nginx", "haproxy"),
    ),
)
