"""Standard output and error in a pipe that nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal

from chaos.stage import Fault, Stage

_DRAIN, _GRACE = 3.0, 2.0


def _fill(writing: int) -> None:
    """Fills a pipe by a description of its own, so that the gateway's goes on to wait where it writes."""
    descriptor = os.open(f"/proc/self/fd/{writing}", os.O_WRONLY | os.O_NONBLOCK)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(descriptor, bytes(size))
    os.close(descriptor)


async def _run(stage: Stage) -> None:
    instances = stage.instances()
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    for descriptor in (reading, writing):
        stage.defer(os.close, descriptor)
    front = await stage.front(instances, start=False, output=writing, access_log="stdout", drain=_DRAIN)
    front.setup.service = {"passive_health": {"failures": 3, "ejection": "500ms"}}
    front.write()
    await stage.start(front)
    _fill(writing)
    load = (await stage.load()).h1(front.port, 20)
    # The instances go and come back, so that there is something to say.
    instances[0].kill()
    await asyncio.sleep(2)
    if stage.planted == "frozen":
        front.process.send(signal.SIGSTOP)
    stage.check("a reload is in force within 5 s", await front.reload(5))
    await load.stop()
    stage.check("no request fails", not load.failed and load.good > 0, load.told())
    front.stop()
    stage.within("it ends", await front.gone(_DRAIN + _GRACE + 1), _DRAIN + _GRACE)


FAULTS = (
    Fault(
        "pipes",
        "standard output and error, with the access log, are a pipe that is full; 20 clients, a reload, a stop",
        _run,
        {"frozen": "the gateway is stopped (SIGSTOP), as one that waits for its reader is"},
        ("nginx", "haproxy"),
    ),
)
