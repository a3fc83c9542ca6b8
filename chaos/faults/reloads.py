"""100 reloads under load."""

from __future__ import annotations

import asyncio
import time

from chaos.stage import LEAK, Fault, Stage

COUNT = 100
"""How often."""
_PEERS = 40.0
"""Seconds after which those that were done have to do, for gateways that are slower."""


async def _run(stage: Stage) -> None:
    instances = stage.instances()
    front = await stage.front(instances, websockets=instances[0].websockets, drain=300)
    before = front.memory()
    h1 = (await stage.load()).h1(front.port, 20)
    fresh = (await stage.load()).h1(front.port, 5, fresh=True)
    h2 = (await stage.load()).h2(front.port, 4)
    sockets = (await stage.load()).websockets(front.port, 20)
    done, began = 0, time.monotonic()
    for number in range(COUNT):
        if stage.planted == "restart" and number == COUNT // 2:
            front.process.end(0)
            await stage.start(front)
        if stage.planted == "refused" and number == COUNT // 2:
            front.setup.route = {"timeout": "for ever"}
        else:
            front.setup.route = {}
        if not stage.own and time.monotonic() - began > _PEERS:
            break
        done += await front.reload()
        await asyncio.sleep(0.05)
    took = time.monotonic() - began
    for load in (h1, fresh, h2, sockets):
        await load.stop()
    stage.check(f"{COUNT} reloads, each in force", done == COUNT, f"{done} in {took:.1f} s")
    stage.check("h1, kept connections: none failed", not h1.failed and h1.good > 0, h1.told())
    stage.check("h1, new connections: none failed", not fresh.failed and fresh.good > 0, fresh.told())
    stage.check("h2: none failed", not h2.failed and h2.good > 0, h2.told())
    stage.check("20 WebSockets stay", not sockets.failed and sockets.good > 0, sockets.told())
    grown = (front.memory() - before) / 2**20
    stage.check("memory grows by at most 64 MB", grown <= 64, f"{grown:.0f} MB")


FAULTS = (
    Fault(
        "reloads",
        f"{COUNT} reloads, each waited for, under 25 clients of h1, 4 of h2 with 5 streams and 20 WebSockets",
        _run,
        {
            "restart": "half way the gateway is killed and started again in place of a reload",
            "refused": "half way the configuration is wrong",
            **LEAK,
        },
        ("nginx", "haproxy"),
    ),
)
