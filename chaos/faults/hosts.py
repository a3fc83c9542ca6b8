"""Hook hosts that are killed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chaos.client import Client, Load
from chaos.fronts import PylaeFront, until
from chaos.stage import Fault, Stage

_CODE = '''
import asyncio, os

CALLS = os.open(__file__ + ".calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

async def note(request):
    """Writes down who has begun which call, and takes its time."""
    os.write(CALLS, f"{os.getpid()} {request.headers['X-Call']}\\n".encode())
    await asyncio.sleep(0.005)
    request.state["process"] = str(os.getpid())

def fail_often(request):
    if request.headers["X-Call"][-1] in "02468":
        raise ValueError("planted")

def tell(request, response):
    response.headers["X-Process"] = request.state.get("process", "none")
'''
_KILLS, _CLIENTS, _PATIENCE = 20, 8, 10.0


class _Calls:
    """What became of the calls of one route."""

    def __init__(self, route: str) -> None:
        self.route = route
        self.statuses: Counter[int] = Counter()
        """0 is no answer."""
        self.failed: set[str] = set()
        self.skipped: set[str] = set()

    def begin(self, load: Load, port: int, going: asyncio.Event) -> None:
        """Clients that call until the event is set."""
        load.begin(_CLIENTS, lambda number: self._client(port, number, going))

    async def _client(self, port: int, number: int, going: asyncio.Event) -> None:
        client = Client(port)
        for turn in itertools.count():
            if going.is_set():
                break
            call = f"{self.route}-{number}-{turn}"
            try:
                answer = await client.ask(f"/{self.route}", f"X-Call: {call}")
            except (OSError, EOFError, ValueError):
                self.statuses[0] += 1
                await asyncio.sleep(0.05)
                continue
            self.statuses[answer.status] += 1
            if answer.status != 200:
                self.failed.add(call)
            elif "\r\nx-process: " not in answer.head or "\r\nx-process: none" in answer.head:
                self.skipped.add(call)
            await asyncio.sleep(0.005)
        client.close()


async def _kill(stage: Stage) -> None:
    """Kills hosts, one after the other, each while calls are in it."""
    use: list[Mapping[str, Any]] = []
    for route, on_error in (("failing", "fail"), ("skipping", "fail" if stage.planted == "strict" else "skip")):
        hooks = [{"on_request": "chaos_hosts:note"}, {"on_response": "chaos_hosts:tell"}]
        if stage.planted == "raising":
            hooks.insert(1, {"on_request": "chaos_hosts:fail_often"})
        use += [{**hook, "routes": [route], "on_error": on_error} for hook in hooks]
    front = await stage.pylae(
        stage.instances(1),
        start=False,
        pylae={"hooks": {"processes": 2, "use": use}},
        routes=[{"name": route, "prefix": f"/{route}", "service": "app"} for route in ("failing", "skipping")],
    )
    code = front.setup.folder / "chaos_hosts.py"
    code.write_text(_CODE)
    await stage.start(front)
    failing, skipping, enough = _Calls("failing"), _Calls("skipping"), asyncio.Event()
    load, plain = await stage.load(), (await stage.load()).h1(front.port, _CLIENTS)
    for calls in (failing, skipping):
        calls.begin(load, front.port, enough)
    killed = [await _kill_one(front, spared=stage.planted == "spared") for _ in range(_KILLS)]
    if stage.planted == "killed":
        front.process.send(signal.SIGKILL)
        await asyncio.sleep(0.2)
    enough.set()
    await asyncio.gather(load.stop(), plain.stop())
    begun = _begun(code)
    elsewhere = {call for call in failing.failed | skipping.skipped if begun[call] - set(killed)}
    stage.check("unhooked requests are answered", not plain.failed and plain.good > 0, plain.told())
    stage.check("calls fail as on_error: fail says", set(failing.statuses) == {200, 500}, dict(failing.statuses))
    stage.check("calls go on as on_error: skip says", set(skipping.statuses) == {200}, dict(skipping.statuses))
    lost = f"{len(failing.failed)} failed, {len(skipping.skipped)} were skipped, {len(elsewhere)} of them elsewhere"
    stage.check("only calls in a killed host are lost", not elsewhere, lost)
    most = _KILLS * 2 * _CLIENTS
    # A client that has lost a call may be sent to the same host once more until the gateway has noticed.
    stage.check(f"at most {most} are lost", len(failing.failed | skipping.skipped) <= most, lost)
    counted = 0.0
    with contextlib.suppress(OSError, EOFError):
        counted = await front.figure(r'pylae_hook_host_restarts_total\{reason="crashed"')
    stage.check(f"{_KILLS} hosts have had another one in their place", counted == _KILLS, f"{counted:.0f}")


async def _hosts(front: PylaeFront) -> list[dict[str, Any]]:
    return list(json.loads((await front.ask("/status")).body)["hook_hosts"])


async def _kill_one(front: PylaeFront, *, spared: bool) -> int:
    """Kills the host with the most calls once both are warm, and waits until it is gone. Returns its process."""
    busy = 0

    async def ready() -> bool:
        nonlocal busy
        hosts = await _hosts(front)
        busiest = max(hosts, key=lambda host: int(host["in_flight"]))
        busy = busiest["process"]
        return bool([host["state"] for host in hosts] == ["warm", "warm"] and busiest["in_flight"])

    async def gone() -> bool:
        return all(host["process"] != busy for host in await _hosts(front))

    if await until(ready, _PATIENCE) and not spared:
        os.kill(busy, signal.SIGKILL)
        await until(gone, _PATIENCE)
    return busy


def _begun(code: Path) -> Mapping[str, set[int]]:
    """The processes that have begun each call."""
    found: dict[str, set[int]] = defaultdict(set)
    for line in Path(f"{code}.calls").read_text().splitlines():
        process, _, call = line.partition(" ")
        found[call].add(int(process))
    return found


FAULTS = (
    Fault(
        "hook-hosts",
        f"hook hosts are killed (SIGKILL) under load, {_KILLS} times, with calls in them",
        _kill,
        {
            "killed": "the gateway is killed too",
            "raising": "a hook raises at every other call",
            "strict": "the hooks that may be skipped may not",
            "spared": "no host is killed",
        },
    ),
)
