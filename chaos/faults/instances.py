"""Instances that are killed, hang, reset and lie, beside others that are well."""

from __future__ import annotations

import asyncio
from typing import Any

from chaos.client import Load
from chaos.instance import Instance, came
from chaos.stage import LEAK, Fault, Stage, watch_memory

_KINDS = ("killed", "hanging", "resetting", "failing", "short", "garbage", "early", "endless", "interim")
_SECONDS = 3.0
_GROWTH = 48.0
"""Megabytes by which the gateway may grow under all of them."""


async def _suffer(stage: Stage, bad: Instance, kind: str, port: int) -> tuple[Load, Load]:
    """GETs and POSTs while one of three instances behaves like that."""
    gets = (await stage.load()).h1(port, 10)
    posts = (await stage.load()).h1(port, 10, post=True)
    await asyncio.sleep(0.3)
    if kind == "killed":
        bad.kill()
    else:
        await bad.behave(kind)
    await asyncio.sleep(_SECONDS)
    await asyncio.gather(gets.stop(), posts.stop())
    return gets, posts


async def _run(stage: Stage) -> None:
    instances = stage.instances(3)
    bad = instances[-1]
    service: dict[str, Any] = {"passive_health": {"failures": 3, "ejection": "500ms", "max_ejection": "500ms"}}
    route: dict[str, Any] = {}
    if stage.planted == "repeated":
        route["retry_on"] = ["reset", "timeout", "gateway_error"]
    if stage.planted == "alone":
        service, route["retries"] = {}, 0
    front = await stage.front(instances, timeout=0.5, service=service, route=route)
    before, most, asked = front.memory(), 0, 0
    for kind in _KINDS:
        watched = asyncio.create_task(watch_memory(front, _SECONDS))
        gets, posts = await _suffer(stage, bad, kind, front.port)
        most, asked = max(most, await watched), asked + posts.good + posts.failed
        # A body that ends early has been sent on by then: those few are broken off at the client too.
        allowed = 0.98 if kind == "short" else 1.0
        stage.check(f"{kind}: {allowed:.0%} of GETs are answered", gets.share >= allowed, gets.told())
        # Those that an instance got before it was taken out; one that hangs gets more before that.
        allowed = 0.9 if kind == "hanging" else 0.96
        stage.check(f"{kind}: {allowed:.0%} of POSTs are answered", posts.share >= allowed, posts.told())
        if kind == "killed":
            bad.start()
        await bad.behave("well")
        # An instance that was taken out is let in again before the next kind.
        await asyncio.sleep(0.6)
    counts = came(instances)
    twice = sum(1 for count in counts.values() if count > 1)
    stage.check("no POST is done twice", not twice and len(counts) <= asked, f"{twice} of {asked:,}")
    grown = (most - before) / 2**20
    stage.check(f"memory grows by at most {_GROWTH:.0f} MB", grown <= _GROWTH, f"{grown:.0f} MB")


FAULTS = (
    Fault(
        "instances",
        f"one of three instances is {', '.join(_KINDS)} for {_SECONDS:g} s each, under 20 clients of GET and POST",
        _run,
        {
            "alone": "no ejection and no retries: what the bad instance does reaches clients",
            "repeated": "the route says that POSTs may be sent again",
            **LEAK,
        },
        ("nginx", "haproxy"),
    ),
)
