"""Gateways of another user than that of the tests, which are root's then."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pylae
from support.programs import program

USER = "nobody"
"""A user that every system has."""
# Of what is under a folder that others may not enter, only these show in its place, in a namespace of mounts.
_SHOWN = """
set -e
stash=$1; shift
mount -t tmpfs none "$stash"
hidden=$1; shift
shown=$1; shift
number=0
for path in $shown; do
  number=$((number + 1)); mkdir "$stash/$number"; mount --rbind "$path" "$stash/$number"
done
for folder in $hidden; do mount -t tmpfs -o mode=755 none "$folder"; done
number=0
for path in $shown; do
  number=$((number + 1)); mkdir -p "$path"; mount --rbind "$stash/$number" "$path"
done
exec "$@"
"""


def need_root() -> None:
    """Skips a test that cannot become another user."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="pylae-test-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def python_of_all(stash: Path, *before: str) -> list[str]:
    """The beginning of a command that runs Python, and Pylae, where every user can read them.

    `before` is a command that runs Python in turn.
    """
    needed = [Path(sys.base_prefix), Path(sys.prefix), Path(pylae.__file__).parents[1]]
    hidden = {path: barrier for path in needed if (barrier := _barrier(path))}
    if not hidden:
        return [*before, sys.executable]
    stash.mkdir(exist_ok=True)
    folders = " ".join(sorted({str(barrier) for barrier in hidden.values()}))
    command = [program("unshare", "util-linux"), "--mount", "sh", "-c", _SHOWN, "sh", str(stash)]
    return [*command, folders, " ".join(map(str, hidden)), *before, sys.executable]


def _barrier(path: Path) -> Path | None:
    """The first folder on the way that others may not enter."""
    ways = [*reversed(path.parents), path]
    return next((folder for folder in ways if not folder.stat().st_mode & stat.S_IXOTH), None)
