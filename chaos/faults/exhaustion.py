"""Descriptors and ports that are used up, and connections that are many and idle."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import resource
import signal
import subprocess
import time
from pathlib import Path

from chaos.client import Client, Load
from chaos.fronts import ChaosError, Front, PylaeFront, until
from chaos.instance import Instance
from chaos.stage import LEAK, Fault, Stage

_FILES, _CLIENTS = 256, 1000
_PORTS = 64
_IDLE = 10_000
_SERVICE = {"passive_health": {"failures": 3, "ejection": "30s"}, "circuit_breaker": {"failure_threshold": 5}}
_NEW_NETWORK = 0x40000000
_AFTER = 1.0
"""Seconds until all is well again."""


async def _crowd(front: Front, count: int, seconds: float, own_ports: bool = False) -> Load:
    """So many clients that come at once, ask, ask again, and leave."""
    load = Load()

    async def client(number: int) -> None:
        source = f"127.0.{number % 200 + 1}.1" if own_ports else ""
        end = time.monotonic() + seconds
        async with Client(front.port, source=source) as connection:
            while time.monotonic() < end:
                with contextlib.suppress(OSError, EOFError, ValueError):
                    load.statuses[(await connection.ask(patience=2)).status] += 1
                await asyncio.sleep(0.2)

    load.begin(count, client)
    return load


async def _recovers(front: Front) -> float | None:
    """Seconds until 5 new clients in a row are answered."""
    began = time.monotonic()

    async def answered() -> bool:
        for _ in range(5):
            try:
                # From an address of its own: ports that are used up are the gateway's.
                async with Client(front.port, source="127.8.8.8") as client:
                    if (await client.ask(patience=1)).status != 200:
                        return False
            except (OSError, EOFError, ValueError):
                return False
        return True

    return time.monotonic() - began if await until(answered, 10) else None


async def _blame(stage: Stage, front: Front, said: str, words: tuple[str, ...]) -> None:
    """Nobody else is blamed, and what happened is told; `said` is what the log said before."""
    if not isinstance(front, PylaeFront):
        return
    blamed: int | None = None
    with contextlib.suppress(OSError, EOFError, ValueError):
        blamed = await front.blamed()
    stage.check("no instance ejected, no breaker open", blamed == 0, "/metrics is silent" if blamed is None else blamed)
    new = front.said().removeprefix(said)
    lines = [line for line in new.splitlines() if any(word in line.lower() for word in words)]
    stage.check("the log says what is used up", bool(lines), lines[0][:160] if lines else "nothing")


async def _break(stage: Stage, instances: list[Instance], front: Front) -> None:
    """What is planted."""
    if stage.planted == "failing":
        for instance in instances:
            await instance.behave("failing")
    if stage.planted == "frozen":
        front.process.send(signal.SIGSTOP)


async def _descriptors(stage: Stage) -> None:
    instances = stage.instances()
    files = None if stage.planted == "roomy" else _FILES
    front = await stage.front(instances, files=files, connections=10_000, service=_SERVICE)
    for instance in instances:
        await instance.behave("well", 0.05)
    established = (await stage.load()).h1(front.port, 50, pace=0.1)
    await asyncio.sleep(1)
    said = front.said()
    crowd = await _crowd(front, _CLIENTS, 4)
    await asyncio.sleep(2)
    await _break(stage, instances, front)
    await crowd.stop()
    recovered = await _recovers(front)
    await established.stop()
    stage.check("95 % on established connections are answered", established.share >= 0.95, established.told())
    stage.within("recovery", recovered, _AFTER)
    await _blame(stage, front, said, ("descriptor", "open files", "emfile"))


async def _ports(stage: Stage) -> None:
    if ctypes.CDLL(None).unshare(_NEW_NETWORK):
        raise ChaosError("a network of its own needs root")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    instances = stage.instances()
    front = await stage.front(instances, service=_SERVICE)
    for instance in instances:
        await instance.behave("well", 0.2)
    most = 40_000 if stage.planted == "roomy" else _PORTS
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"20000 {20000 + most - 1}")
    said = front.said()
    crowd = await _crowd(front, 400, 4, own_ports=True)
    await asyncio.sleep(2)
    await _break(stage, instances, front)
    await crowd.stop()
    for instance in instances:
        await instance.behave(*(("failing",) if stage.planted == "failing" else ("well",)))
    answered = crowd.statuses[200]
    refused = crowd.statuses[502] + crowd.statuses[503]
    stage.check("ports were used up", refused > 0 or not stage.own, f"{refused:,} answered 502 or 503")
    stage.check("others are answered", answered > 500, f"{answered:,} of {sum(crowd.statuses.values()):,}")
    stage.within("recovery", await _recovers(front), _AFTER)
    await _blame(stage, front, said, ("port", "address"))


async def _idle(stage: Stage) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < _IDLE + 1000:
        raise ChaosError(f"{_IDLE + 1000} open files are needed, and `ulimit -Hn` allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    stage.defer(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    instances = stage.instances()
    keep = 1 if stage.planted == "impatient" else 600
    # They only wait: without this Pylae keeps a descriptor for an instance of each.
    waiting = {"limits": {"max_requests": 2000}}
    front = await stage.front(instances, keep_alive=keep, drain=3, pylae=waiting)
    before = front.memory()
    connections = [Client(front.port) for _ in range(_IDLE)]
    for at in range(0, _IDLE, 100):
        await asyncio.gather(*(client.ask("/revision", patience=30) for client in connections[at : at + 100]))
    each = (front.memory() - before) / _IDLE
    if stage.planted == "leak":
        for _ in range(10):
            await asyncio.gather(*(client.ask("/", patience=30) for client in connections[:1000]))
        each = (front.memory() - before) / _IDLE
    load = (await stage.load()).h1(front.port, 10)
    await asyncio.sleep(1)
    if stage.planted == "frozen":
        front.process.send(signal.SIGSTOP)
        asyncio.get_running_loop().call_later(1, front.process.send, signal.SIGCONT)
    await asyncio.sleep(2)
    await load.stop()
    held = sum(client.open for client in connections)
    stage.check("all are held", held == _IDLE, f"{held:,} of {_IDLE:,}")
    stage.check("each takes at most 16 KB", each <= 16 * 1024, f"{each / 1024:.1f} KB")
    stage.check(
        "p99 beside them under 50 ms", load.p99() < 50 and not load.failed, f"{load.p99():.1f} ms, {load.told()}"
    )
    if stage.planted != "running":
        front.stop()
    gone = await front.gone(6)
    await asyncio.sleep(0.2)
    left = sum(client.open for client in connections)
    stage.within("a stop ends it", gone, 5)
    stage.check("a stop closes all", left == 0, f"{left:,} left")
    for client in connections:
        client.close()


_PLANTS = {
    "failing": "the instances answer 503",
    "frozen": "the gateway is stopped (SIGSTOP) meanwhile",
    "roomy": "there is room for all",
}
FAULTS = (
    Fault(
        "descriptors",
        f"`ulimit -n {_FILES}` and {_CLIENTS:,} clients for 4 s, beside 50 that were there before",
        _descriptors,
        _PLANTS,
        ("nginx", "haproxy"),
    ),
    Fault(
        "ports",
        f"a network with {_PORTS} local ports and 400 clients for 4 s, each instance taking 200 ms",
        _ports,
        _PLANTS,
        ("nginx", "haproxy"),
    ),
    Fault(
        "idle",
        f"{_IDLE:,} connections that were of use once, 10 clients beside them, and a stop",
        _idle,
        {
            "impatient": "connections are kept for a second only",
            "frozen": "the gateway is stopped (SIGSTOP) for a second",
            "running": "it is not told to stop",
            **LEAK,
        },
        ("nginx", "haproxy"),
    ),
)
