"""A process that records, moves and tidies, and is killed on the way.

`python -m support.history_writer FOLDER FIRST EVERY`: in a folder of its own, a child kills itself at the step FIRST,
the next one EVERY steps later, until one comes to its end. Steps are before and after each transaction of the store,
each sync, and each change of a name. What each has recorded by then is reported.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import alembic.command  # noqa: F401 (children have it from here)

from pylae.history.content import pack
from pylae.history.entry import Cause
from pylae.history.history import History
from pylae.history.journal import Journal
from pylae.settings import StoreSettings
from pylae.store.engines import connected
from pylae.store.sqlite import SqliteStore

KEEP = 4
"""How many entries stay."""


def document(number: int) -> dict[str, Any]:
    """What is recorded with this number; every third one has parts."""
    text = os.urandom(450_000).hex() if number % 3 == 0 else ""
    return {"number": number, "text": text}


class Steps:
    """Kills this process at one step."""

    def __init__(self, last: int) -> None:
        self._left = last

    def step(self) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str) -> None:
        """Makes a function two steps: before it and after it."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def stepped(*words: Any, **named: Any) -> Any:
            self.step()
            found = function(*words, **named)
            self.step()
            return found

        setattr(owner, name, stepped)


def record(folder: Path, last: int) -> None:
    """Records eight configurations, and moves some of them at a time."""
    steps = Steps(last)
    for owner, name in ((SqliteStore, "_commit"), (os, "fsync"), (Path, "replace"), (Path, "unlink"), (os, "link")):
        steps.around(owner, name)
    journal = Journal(folder, 100)
    with connected(StoreSettings(), folder, folder) as store:
        store.migrate()
        history = History(store)
        for number in range(1, 9):
            journal.add(pack(document(number)), Cause("admin", "ada", str(number)))
            os.write(1, f"{number}\n".encode())
            if number in (1, 4, 6):
                journal.move(history, KEEP)
    # All steps were made.
    os.write(1, b"0\n")


def killed_at(step: int, folder: Path) -> dict[str, Any]:
    """What a child has recorded that was killed at a step."""
    folder.mkdir(mode=0o700)
    read, written = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(written, 1)
        try:
            record(folder, step)
        finally:
            os._exit(0)
    os.close(written)
    recorded = b""
    while piece := os.read(read, 65536):
        recorded += piece
    os.close(read)
    _, status = os.waitpid(child, 0)
    return {"step": step, "recorded": [int(line) for line in recorded.split()], "killed": os.WIFSIGNALED(status)}


if __name__ == "__main__":
    where, number, every = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    is_killed = True
    while is_killed:
        told = killed_at(number, where / str(number))
        print(json.dumps(told), flush=True)
        is_killed = told["killed"]
        number += every
