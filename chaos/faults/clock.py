"""A wall clock that is set while the gateway runs."""

from __future__ import annotations

import asyncio
import platform
import signal
import struct
import subprocess
import time
from pathlib import Path

from chaos.client import Client
from chaos.fronts import ChaosError
from chaos.stage import Fault, Stage
from pylae.testing import make_token

_SECRET = "a-secret-that-signs-tokens-for-chaos-only"  # noqa: S105 (it opens nothing)
_HOUR = 3600
_STEPS = (_HOUR, 0, -_HOUR, 0)
"""Seconds by which the clock is off, one after the other."""
_LIFE = 1800
_STALL = 1.0


def _shim(folder: Path) -> Path:
    """Builds what stands before the C library's clocks."""
    if platform.machine() != "x86_64":
        raise ChaosError("clocks are replaced on x86-64 only")
    made = folder / "clock.so"
    source = Path(__file__).resolve().parents[1] / "clock.c"
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ChaosError("a C compiler is needed") from error
    return made


async def _run(stage: Stage) -> None:
    folder, instances = stage.new_folder(), stage.instances()
    offset = folder / "offset"
    offset.write_bytes(struct.pack("=q", 0))
    env = {"LD_PRELOAD": str(_shim(folder)), "CHAOS_CLOCK": str(offset)}
    most = 60 if stage.planted == "mean" else 600
    limited = {"limit": most, "per": "1m", "burst": most // 20, "key": "header:X-Client"}
    front = await stage.pylae(
        instances,
        env=env,
        pylae={"auth": {"jwt": {"secret": _SECRET}}},
        service={"health_check": {"path": "/", "interval": "300ms", "unhealthy_after": 1}},
        routes=[
            {"name": "user", "prefix": "/user", "service": "app", "auth_required": True},
            {"name": "counted", "prefix": "/counted", "service": "app", "rate_limit": limited},
        ],
    )
    now = int(time.time())
    token = _token(now, "seen")
    plain = (await stage.load()).h1(front.port, 10)
    # Half of what each may ask.
    counted = (await stage.load()).h1(front.port, 20, "/counted", "X-Client: {client}", pace=0.2)
    await asyncio.sleep(1)
    for step in _STEPS:
        before = plain.mark()
        with offset.open("r+b") as file:
            file.write(struct.pack("=q", 0 if stage.planted == "ignored" else step))
        if stage.planted == "frozen":
            front.process.send(signal.SIGSTOP)
            asyncio.get_running_loop().call_later(1.2, front.process.send, signal.SIGCONT)
        if stage.planted == "killed":
            instances[0].kill()
        await asyncio.sleep(1.5)
        gap = plain.longest_gap(before)
        stage.check(f"{step:+d} s: nothing stands still for {_STALL:g} s", gap < _STALL, f"{gap * 1000:.0f} ms")
        # One that was seen before, and may be remembered, and one that was not.
        for words, one in (("a token", token), ("a new token", _token(now, f"{step} {before}"))):
            if words == "a token" and step < 0:
                continue
            async with Client(front.port) as client:
                status = (await client.ask("/user", f"Authorization: Bearer {one}")).status
            wanted = 200 if step == 0 else 401
            stage.check(f"{step:+d} s: {words} is judged by the new time", status == wanted, f"status {status}")
    await asyncio.gather(plain.stop(), counted.stop())
    stage.check("no request fails", not plain.failed, plain.told())
    stage.check("nobody is refused by a limit", not counted.failed, counted.told())
    down = [line for line in front.said().splitlines() if " down: " in line]
    stage.check("no instance is taken for down", not down, down[:1])


def _token(now: int, user: str) -> str:
    """Good for half an hour, and not before."""
    return make_token({"sub": user, "nbf": now - 60, "exp": now + _LIFE}, secret=_SECRET, header={})


FAULTS = (
    Fault(
        "clock",
        f"the wall clock is off by {', '.join(f'{step:+d}' for step in _STEPS)} s in turn, under 30 clients",
        _run,
        {
            "ignored": "the clock is not set",
            "frozen": "the gateway is stopped (SIGSTOP) for 1.2 s after each step",
            "killed": "an instance is killed",
            "mean": "the limit is below what clients ask",
        },
    ),
)
