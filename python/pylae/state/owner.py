"""The owner of files that a gateway creates while it is still root: the user that it will switch to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Owner:
    """A user by numbers, with all its groups."""

    uid: int
    gid: int
    groups: Sequence[int]


_owner: Owner | None = None


def be(owner: Owner | None) -> None:
    """From now on, files belong to this user as long as the process is root."""
    global _owner
    _owner = owner


@contextmanager
def acting() -> Iterator[None]:
    """Switches to the permissions of that user within the context.

    New files belong to that user, and links that the user has placed cannot lead to files of root. This applies to all
    threads of the process. Does nothing without such a user, or if the process is not root.
    """
    if _owner is None or os.geteuid() != 0:
        yield
        return
    gid, groups = os.getegid(), os.getgroups()
    os.setgroups(_owner.groups)
    os.setegid(_owner.gid)
    os.seteuid(_owner.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def make_folder(folder: Path) -> None:
    """Creates a folder for its owner alone, and those above it, if they do not exist; if only root may create it, for
    that user. Raises OSError.
    """
    try:
        with acting():
            # `parents` would create those above it for everybody to look into.
            for missing in [one for one in (*reversed(folder.parents), folder) if not one.exists()]:
                missing.mkdir(mode=0o700, exist_ok=True)
    except PermissionError:
        if _owner is None or os.geteuid() != 0:
            raise
        folder.mkdir(mode=0o700)
        _give(folder, os.O_RDONLY | os.O_DIRECTORY, _owner)


def make_file(file: Path, mode: int) -> None:
    """Creates a file that its owner appends to, if it does not exist; if only root may create it, for that user.

    Raises OSError, also if the file exists and that user cannot write to it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with acting():
            os.close(os.open(file, flags | os.O_APPEND, mode))
    except PermissionError:
        if _owner is None or os.geteuid() != 0 or file.exists():
            raise
        os.close(os.open(file, flags | os.O_EXCL | os.O_NOFOLLOW, mode))
        _give(file, os.O_WRONLY | os.O_NONBLOCK, _owner)


def _give(made: Path, flags: int, owner: Owner) -> None:
    """Gives a new file of root to the user, in a folder where the user cannot replace it meanwhile."""
    descriptor = os.open(made, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(descriptor, owner.uid, owner.gid)
    finally:
        os.close(descriptor)
