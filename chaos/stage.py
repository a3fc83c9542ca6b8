"""What a fault is, and what it stands on while it is tried."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

from chaos.client import Load
from chaos.fronts import ChaosError, Front, PylaeFront, Setup
from chaos.instance import Instance

LEAK = {"leak": "a hook keeps 20 KB of each request"}
"""Planted where memory is judged."""
_LEAK = """kept = []

def leak(request):
    kept.append(b"x" * 20_000)
"""


@dataclass(frozen=True)
class Check:
    """One condition of a verdict, and what was found."""

    what: str
    passed: bool
    found: str


@dataclass(frozen=True)
class Fault:
    """Something that a gateway has to survive."""

    name: str
    what: str
    """What is done."""
    run: Callable[[Stage], Awaitable[None]]
    """Does it, and gives the verdict: the checks of the stage."""
    plants: Mapping[str, str]
    """Mistakes that can be planted to see the verdict red, and what each is."""
    peers: tuple[str, ...] = ()
    """Peers that the fault applies to."""


@dataclass
class Stage:
    """One fault at one gateway."""

    folder: Path
    kind: type[Front]
    planted: str = ""
    """The mistake that is planted, if any."""
    checks: list[Check] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _count: int = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def own(self) -> bool:
        """Whether this is Pylae."""
        return self.kind is PylaeFront

    @property
    def passed(self) -> bool:
        """Whether all is as it must be."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def check(self, what: str, passed: bool, found: object = "") -> None:
        """One condition of the verdict."""
        self.checks.append(Check(what, passed, str(found)))

    def within(self, what: str, seconds: float | None, bound: float) -> None:
        """A condition on a time; none is longer than was waited for."""
        self.check(
            f"{what} within {bound:g} s",
            seconds is not None and seconds <= bound,
            "not at all" if seconds is None else f"{seconds:.2f} s",
        )

    def new_folder(self) -> Path:
        """A folder for one start of something."""
        self._count += 1
        folder = self.folder / str(self._count)
        folder.mkdir()
        return folder

    def instances(self, count: int = 2) -> list[Instance]:
        """So many, until the end of the stage."""
        made = []
        for _ in range(count):
            made.append(Instance(self.new_folder()))
            self._stack.callback(made[-1].kill)
        return made

    async def front(self, instances: list[Instance], *, start: bool = True, **setup: Any) -> Front:
        """The gateway, started, until the end of the stage."""
        given = {"folder": self.new_folder(), "ports": [instance.port for instance in instances], **setup}
        if self.planted == "leak":
            (given["folder"] / "leaking.py").write_text(_LEAK)
            given["pylae"] = {**given.get("pylae", {}), "hooks": [{"on_request": "leaking:leak"}]}
        front = self.kind(Setup(**given))
        if start:
            await self.start(front)
        return front

    async def start(self, front: Front) -> None:
        """Starts it, until the end of the stage."""
        await front.start()
        self._stack.callback(front.process.end, 0)

    async def pylae(self, instances: list[Instance], **setup: Any) -> PylaeFront:
        """The same where it is Pylae's admin API that is asked."""
        return cast("PylaeFront", await self.front(instances, **setup))

    async def load(self) -> Load:
        """A load that ends with the stage at the latest."""
        return await self._stack.enter_async_context(Load())

    def defer(self, function: Callable[..., Any], *given: Any) -> None:
        """Calls a function at the end of the stage."""
        self._stack.callback(function, *given)


async def watch_memory(front: Front, seconds: float) -> int:
    """The most resident bytes that were seen meanwhile."""
    most, end = 0, time.monotonic() + seconds
    while time.monotonic() < end and front.process.running:
        most = max(most, front.memory())
        await asyncio.sleep(0.1)
    return most


__all__ = ["LEAK", "ChaosError", "Check", "Fault", "Stage", "watch_memory"]
