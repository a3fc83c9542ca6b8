"""The running gateways of this user, each with the files that it was started with and its state folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pylae import state
from pylae.state import local_socket

_PATIENCE = 5.0
"""Seconds after which a gateway that does not accept a connection counts as running but busy."""


@dataclass(frozen=True, slots=True)
class Running:
    """A running gateway. `origins` are the files and programs that it was started with."""

    origins: tuple[Path, ...]
    folder: Path


def announce(origins: Sequence[Path], folder: Path) -> Path:
    """Records that a gateway runs, until the returned file is removed. Raises OSError."""
    said = {"origins": [str(origin.resolve()) for origin in origins], "folder": str(folder)}
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
    file = _folder() / f"{name}.json"
    state.write(file, json.dumps(said).encode(), durable=False)
    return file


def found() -> list[Running]:
    """Returns the running gateways, in the order of their names. Removes the records of killed ones."""
    listed = []
    for file in _folder().glob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            which = file.stat().st_ino
            said = json.loads(file.read_bytes())
            one = Running(tuple(map(Path, said["origins"])), Path(said["folder"]))
            if answers(one.folder):
                listed.append(one)
            elif file.stat().st_ino == which:
                file.unlink()
    return sorted(listed, key=lambda one: (one.origins, one.folder))


def folders_of(file: Path) -> Iterator[Path]:
    """Returns the state folders of running gateways that were started with a file."""
    origin = file.resolve()
    yield from (one.folder for one in found() if origin in one.origins)


def answers(folder: Path) -> bool:
    """Returns true if a gateway uses this state folder. Raises PermissionError if it belongs to another user."""
    try:
        local_socket.connect(folder, _PATIENCE).close()
    except TimeoutError:
        return True
    except PermissionError:
        raise
    except OSError:
        return False
    return True


def _folder() -> Path:
    return state.home() / "running"
