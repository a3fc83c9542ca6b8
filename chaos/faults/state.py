"""A state folder that was left half written, a disk that is full, and applies that are killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chaos.client import Client
from chaos.fronts import TOKEN, ChaosError, PylaeFront, until
from chaos.stage import Fault, Stage

_ROUNDS = 50
_JSON = "Content-Type: application/json"


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _garbage(file: Path) -> None:
    file.write_bytes(os.urandom(4000))


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _half(file: Path) -> None:
    """What a process that was killed leaves beside the file."""
    file.with_name(f".{file.name}.0123456789abcdef").write_text('{"half')


def _rights(file: Path) -> None:
    file.chmod(0o666)
    file.parent.chmod(0o777)


_SPOILT: tuple[tuple[str, Callable[[Path], None]], ...] = (
    ("applied.json", _truncate),
    ("applied.json", _garbage),
    ("applied.json", _folder),
    ("applied.json", _half),
    ("registered.json", _truncate),
    ("registered.json", _garbage),
    ("admin-token", _garbage),
    ("admin-token", _rights),
)


async def _half_written(stage: Stage) -> None:
    instances = stage.instances(1)
    more = {"services": {"mail": {"discovery": {"heartbeat": {"ttl": "1h"}}}}}
    front = await stage.pylae(instances, start=False, pylae=more)
    folder, whole = front.setup.folder / "state", front.setup.folder / "whole"
    folder.mkdir(0o700)
    (folder / "admin-token").write_text(TOKEN)
    (folder / "admin-token").chmod(0o600)
    front.setup.pylae = {**more, "admin": {"address": f"127.0.0.1:{front.admin}"}}
    front.write()
    await stage.start(front)
    applied = await front.put({**front.configuration(), "via": False})
    body = b'{"url": "http://127.0.0.1:%d"}' % instances[0].port
    registered = (await front.ask("/services/mail/instances", _JSON, method="POST", body=body)).status
    front.stop()
    await front.gone(10)
    shutil.copytree(folder, whole)
    names = sorted(file.name for file in whole.iterdir())
    stage.check("the folder is full", applied == 200 and registered in (200, 201), f"{applied}, {registered}: {names}")
    for name, spoil in _SPOILT:
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        spoil(folder / name)
        if stage.planted == "unreadable":
            _truncate(front.file)
        with contextlib.suppress(ChaosError):
            await stage.start(front)
        status: Any = "none"
        with contextlib.suppress(OSError, EOFError):
            async with Client(front.port) as client:
                status = (await client.ask()).status
        said = "" if stage.planted == "silent" else front.said()
        lines = [line for line in said.splitlines() if name in line]
        what = f"{name}, {spoil.__name__.strip('_')}"
        if spoil is _rights:
            # Others may have read it: that is not served with, and the reason is the last line.
            stage.check(f"{what}: does not start", status == "none", f"status {status}")
        else:
            stage.check(f"{what}: starts and serves", status == 200, f"status {status}")
        stage.check(f"{what}: said", bool(lines), lines[0].replace(str(folder), "…")[:160] if lines else "nothing")
        front.process.end(0)


async def _full(stage: Stage) -> None:
    instances = stage.instances()
    front = await stage.front(instances, start=False)
    disk = front.setup.folder / "state"
    disk.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", disk], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ChaosError("a file system of its own needs root") from error
    stage.defer(lambda: subprocess.run(["umount", "-l", disk], check=True))
    front.setup.access_log = str(disk / "access.log")
    front.write()
    await stage.start(front)
    filling = disk / "filling"
    with filling.open("wb", buffering=0) as file:
        for size in (2**16, 1) if stage.planted != "empty" else ():
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    load = (await stage.load()).h1(front.port, 20)
    await asyncio.sleep(1)
    if isinstance(front, PylaeFront):
        changed = front.configuration()
        changed["routes"][0]["static_response"] = "another " + "x" * 8192
        status = await front.put(changed)
        stage.check("an apply fails cleanly", status == 500, f"status {status}")
        stage.check("the old configuration stays in force", await front.serves_revision())
    if stage.planted == "frozen":
        front.process.send(signal.SIGSTOP)
        asyncio.get_running_loop().call_later(11, front.process.send, signal.SIGCONT)
    stage.check("a reload goes on", await front.reload())
    await asyncio.sleep(1)
    await load.stop()
    stage.check("no request fails", not load.failed and load.good > 0, load.told())
    filling.unlink()
    if isinstance(front, PylaeFront):
        status = await front.put(changed)
        stage.check("with room again an apply succeeds", status == 200, f"status {status}")


async def _administrable(front: PylaeFront) -> bool:
    try:
        return (await front.ask("/status")).status == 200
    except (OSError, EOFError):
        return False


async def _which(front: PylaeFront) -> set[int]:
    """The revisions that are served: one, if a configuration is in force wholly."""
    async with Client(front.port) as client:
        return {int((await client.ask(path)).body.split()[1]) for path in ("/revision", "/also")}


async def _killed(stage: Stage) -> None:
    also = {"name": "also", "path": "/also", "static_response": "revision 0"}
    front = await stage.pylae([], service={"instances": ["http://127.0.0.1:1"]}, routes=[also])
    rng = random.Random(7)  # noqa: S311 (a fault that can be repeated)
    serving, took, neither, kept, done = 0, 0.2, 0, 0, 0
    for number in range(1, _ROUNDS + 1):
        config = front.configuration()
        for route in config["routes"]:
            if route["name"] in ("revision", "also"):
                route["static_response"] = f"revision {number}"
        # What the API is made of is imported when it is asked for the first time.
        await until(lambda: _administrable(front), 20)
        began = time.monotonic()
        put = asyncio.create_task(front.put(config))
        await asyncio.wait([put], timeout=rng.uniform(0, took * 1.2))
        answered = put.done() and not put.exception() and put.result() == 200
        if answered:
            took = 0.5 * took + 0.5 * (time.monotonic() - began)
        front.process.end(0)
        await asyncio.wait([put])
        put.exception()
        if stage.planted == "in place":
            file = front.setup.folder / "state" / "applied.json"
            if file.exists():
                _truncate(file)
        await front.start(ready=False)
        stage.defer(front.process.end, 0)
        found: set[int] = set()
        end = time.monotonic() + 20
        while not found and time.monotonic() < end:
            with contextlib.suppress(OSError, EOFError):
                found = await _which(front)
            await asyncio.sleep(0.02)
        allowed = [{number}] if answered else [{serving}, {number}]
        neither += found not in allowed
        done, kept = done + answered, kept + (found == {number})
        serving = max(found, default=0)
    stage.check(f"after {_ROUNDS} kills the old or the new one is in force, wholly", not neither, f"{neither} neither")
    stage.check("kills came before and behind the apply", 0 < kept < _ROUNDS, f"{kept} new, {done} answered")


FAULTS = (
    Fault(
        "state",
        "files of the state folder are truncated, garbage, folders, for all to write; a half one is left beside",
        _half_written,
        {"unreadable": "the configuration file is truncated too", "silent": "the log is not looked at"},
    ),
    Fault(
        "disk",
        "access log and state folder on a disk that is full, under 20 clients; a reload, an apply, and room again",
        _full,
        {"empty": "the disk is not full", "frozen": "the gateway is stopped (SIGSTOP) for 11 s"},
        ("nginx", "haproxy"),
    ),
    Fault(
        "kill",
        f"{_ROUNDS} times SIGKILL at a random moment of an apply over the admin API, and a start",
        _killed,
        {"in place": "what is kept is truncated after each kill, as if it were written in place"},
    ),
)
