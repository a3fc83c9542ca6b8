"""Steady, mixed load for a long time: does memory, do descriptors, do threads grow? `python -m chaos.soak --help`."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report import heading

from chaos.client import Load
from chaos.fronts import ChaosError, Front, find, until
from chaos.instance import Instance
from chaos.stage import Stage

A_DAY = 256.0
"""Megabytes a day that memory may grow by."""
_SEEN = 8.0
"""Megabytes below which growth within a run is noise: what a day allows, in an hour of which a sixth is warm-up."""
_MORE = 8
"""Descriptors and threads that may be more behind the load than before it."""
_SETTLING = 30.0
"""Seconds for kept connections to be given up once nobody asks."""
_RELOAD, _FLAP, _DOWN = 30.0, 20.0, 3.0
_HOOKS = """
import asyncio

kept = []

def inline(request):
    request.headers["X-Hooked"] = "inline"

async def waiting(request):
    await asyncio.sleep(0)

def blocking(request):
    pass

def leak(request):
    kept.append(b"x" * 20_000)

def files(request):
    kept.append(open("/dev/null"))

def threads(request):
    import threading
    kept.append(None)
    if len(kept) % 50 == 0:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
PLANTS = {
    "leak": "a hook keeps 20 KB of each request",
    "files": "a hook keeps a file open for each request",
    "threads": "a hook leaves threads",
    "failing": "two of three instances answer 503 from half time on",
}


@dataclass(frozen=True)
class Sample:
    """One second."""

    at: float
    memory: int


def slope(samples: Sequence[Sample]) -> float:
    """Bytes a second, by least squares."""
    return statistics.linear_regression([one.at for one in samples], [one.memory for one in samples]).slope


async def _front(stage: Stage, instances: list[Instance]) -> Front:
    """A gateway with something of everything."""
    planted = [] if stage.planted in ("", "failing") else [stage.planted]
    hooks = ["inline", "waiting", "blocking", *planted]
    limited = {"limit": 1_000_000, "per": "1m", "key": "header:X-Client"}
    more = {"service": "app", "timeout": "2s"}
    front = await stage.front(
        instances,
        start=False,
        websockets=instances[0].websockets,
        service={"passive_health": {"failures": 3, "ejection": "2s"}},
        pylae={
            "hooks": [
                {"on_request": f"soak_hooks:{name}", "routes": "hooked", "blocking": name == "blocking"}
                for name in hooks
            ]
        },
        routes=[
            {"name": "hooked", "prefix": "/hooked", **more},
            {"name": "cached", "prefix": "/cached", "cache": "1s", **more},
            {"name": "counted", "prefix": "/counted", "rate_limit": limited, **more},
        ],
    )
    (front.setup.folder / "soak_hooks.py").write_text(_HOOKS)
    await stage.start(front)
    return front


async def _rest(front: Front, before: tuple[int, int] | None = None) -> tuple[int, int]:
    """Descriptors and threads while nobody asks: once they are not many more than `before`, or in the end."""

    async def settled() -> bool:
        return before is not None and all(now - then <= _MORE for now, then in zip(front.counts(), before, strict=True))

    await until(settled, _SETTLING)
    return front.counts()


async def _flap(instance: Instance) -> None:
    """An instance that is killed and comes back, again and again."""
    while True:
        await asyncio.sleep(_FLAP)
        instance.kill()
        await asyncio.sleep(_DOWN)
        instance.start()


async def _reloads(front: Front, every: float, done: list[bool]) -> None:
    while True:
        await asyncio.sleep(every)
        done.append(await front.reload())


async def _loads(stage: Stage, front: Front) -> dict[str, Load]:
    """Something of everything, by name."""
    loads: dict[str, Load] = {}
    for name in ("h1", "new connections", "h2", "WebSockets", "hooks", "cache", "limits"):
        loads[name] = await stage.load()
    loads["h1"].h1(front.port, 10, pace=0.05)
    loads["new connections"].h1(front.port, 4, fresh=True, pace=0.05)
    loads["h2"].h2(front.port, 2, pace=0.1)
    loads["WebSockets"].websockets(front.port, 10, pace=0.2)
    loads["hooks"].h1(front.port, 4, "/hooked", pace=0.05)
    loads["cache"].h1(front.port, 4, "/cached", pace=0.05)
    loads["limits"].h1(front.port, 4, "/counted", "X-Client: {client}", pace=0.05)
    return loads


async def soak(stage: Stage, seconds: float) -> None:
    """Runs for so long, and gives the verdict: the checks of the stage."""
    instances = stage.instances(3)
    front = await _front(stage, instances)
    # Behind a moment of everything, because some threads begin when they are needed.
    for load in (await _loads(stage, front)).values():
        await asyncio.sleep(1)
        await load.stop()
    before = await _rest(front)
    loads = await _loads(stage, front)
    reloaded: list[bool] = []
    beside = [
        asyncio.create_task(_flap(instances[2])),
        asyncio.create_task(_reloads(front, min(_RELOAD, seconds / 10), reloaded)),
    ]
    samples: list[Sample] = []
    began = time.monotonic()
    while (at := time.monotonic() - began) < seconds and front.process.running:
        samples.append(Sample(at, front.memory()))
        for load in loads.values():
            # Only counts are of interest here, and an hour has many.
            load.times.clear()
        if stage.planted == "failing" and at > seconds / 2:
            stage.planted = "failed"
            for instance in instances[:2]:
                await instance.behave("failing")
        await asyncio.sleep(1)
    for task in beside:
        task.cancel()
    await asyncio.gather(*(load.stop() for load in loads.values()))
    judge(stage, seconds, samples, loads, reloaded)
    judge_rest(stage, before, await _rest(front, before) if front.process.running else (0, 0))


def judge_rest(stage: Stage, before: tuple[int, int], after: tuple[int, int]) -> None:
    """Whether anything was left open."""
    for name, first, last in zip(("descriptors", "threads"), before, after, strict=True):
        what = f"{name} are no more behind the load than before it"
        stage.check(what, 0 < last <= first + _MORE, f"{first} → {last}")


def judge(stage: Stage, seconds: float, samples: list[Sample], loads: dict[str, Load], reloaded: list[bool]) -> None:
    warm = [one for one in samples if one.at > seconds / 6]
    stage.check("it runs to the end", bool(samples) and samples[-1].at > seconds - 5, f"{samples[-1].at:.0f} s")
    if len(warm) < 20:
        raise ChaosError("the run is too short for a slope: at least 30 s")
    growth = slope(warm) * (warm[-1].at - warm[0].at) / 2**20
    day = slope(warm) * 86_400 / 2**20
    ends = f"from {warm[0].memory / 2**20:.0f} to {warm[-1].memory / 2**20:.0f} MB"
    within = f"{growth:+.1f} MB within {warm[-1].at - warm[0].at:.0f} s, {ends}"
    what = f"memory grows by at most {A_DAY:.0f} MB a day (or {_SEEN:.0f} MB in the run)"
    stage.check(what, day <= A_DAY or growth <= _SEEN, f"{day:+.0f} MB a day; {within}")
    stage.check("each reload is in force", all(reloaded) and bool(reloaded), f"{len(reloaded)} reloads")
    for name, load in loads.items():
        stage.check(f"{name}: none failed", not load.failed and load.good > 0, load.told())


async def _run(seconds: float, planted: str) -> Stage:
    with tempfile.TemporaryDirectory(prefix="pylae-soak-") as folder:
        async with Stage(Path(folder), find("pylae"), planted) as stage:
            await soak(stage, seconds)
    return stage


def main(argv: Sequence[str] | None = None) -> int:
    """0 if the verdict is green, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m chaos.soak", description="Steady, mixed load for a long time.")
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long; default 3600")
    parser.add_argument("--plant", default="", choices=["", *PLANTS], help="plants a mistake, which has to be found")
    parser.add_argument("--out", type=Path, help="also write the report here")
    options = parser.parse_args(argv)
    try:
        stage = asyncio.run(_run(options.seconds, options.plant))
    except ChaosError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    verdict = "green" if stage.passed else "red"
    lines = [
        *heading("Soak", f"; {options.seconds:.0f} s"),
        f"- Verdict: **{verdict}**",
        "",
        "| what must be | found |",
        "|---|---|",
        *(f"| {check.what} | {'✓' if check.passed else '✗'} {check.found} |" for check in stage.checks),
    ]
    print("\n".join(lines))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(lines) + "\n")
    return int(not stage.passed)


if __name__ == "__main__":
    sys.exit(main())
