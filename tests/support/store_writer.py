"""A process that writes to a store until it is killed: `python -m support.store_writer SETTINGS FOLDER [CUT…]`.

Each transaction puts the next number under two keys, and is reported once the store has acknowledged it. With limits on
the size of a file, a child for each limit migrates and writes, and the kernel kills it in the middle of the write that
would pass the limit.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path

import alembic.command  # noqa: F401 (children have it from here)

import pylae.store.sqlite  # noqa: F401
from pylae.settings import StoreSettings
from pylae.store.engines import connected
from pylae.store.store import Put, Store

KEYS = ("pair/a", "pair/b")


def write(store: Store, first: int, last: int) -> None:
    """Puts numbers, and reports those that are acknowledged."""
    for number in range(first, last):
        value = str(number).encode().ljust(700)
        store.txn([], [Put(key, value) for key in KEYS])
        os.write(1, f"{number}\n".encode())


def until_killed(settings: StoreSettings, folder: Path) -> None:
    """Writes from where it is on."""
    with connected(settings, folder, folder) as store:
        found = store.get(KEYS[0])
        write(store, int(found.value) + 1 if found else 1, 1_000_000)


def within(limit: int, settings: StoreSettings, folder: Path) -> None:
    """Migrates and writes in a child that may not make a file longer than `limit`; reports how it ended."""
    folder.mkdir(exist_ok=True)
    read, written = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(written, 1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # Python ignores the signal otherwise.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            with connected(settings, folder, folder) as store:
                store.migrate()
                os.write(1, b"0\n")
                write(store, 1, 12)
        finally:
            os._exit(0)
    os.close(written)
    acknowledged = b""
    while piece := os.read(read, 65536):
        acknowledged += piece
    os.close(read)
    _, status = os.waitpid(child, 0)
    numbers = [int(line) for line in acknowledged.split()]
    said = {"limit": limit, "acknowledged": numbers, "killed": os.WIFSIGNALED(status)}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    given, where = StoreSettings.model_validate_json(sys.argv[1]), Path(sys.argv[2])
    for word in sys.argv[3:]:
        within(int(word), given, where / word)
    if not sys.argv[3:]:
        until_killed(given, where)
