"""What outlives a restart: a folder that only its owner can read, whose files are replaced whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from pylae.errors import ConfigError, Problem
from pylae.state.owner import acting, make_folder

log = logging.getLogger("pylae")

_UNDER_WAY = re.compile(r"\.(.+)\.[0-9a-f]{16}")
"""Names of files that are under way to the place of another."""


def home() -> Path:
    """The user's state directory (XDG Base Directory Specification)."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "pylae"


def folder_of(configuration: str | Path, setting: str | None) -> Path:
    """The state folder of the gateway that a file configures.

    It is what `state` says, relative to the file; or that of the service manager (STATE_DIRECTORY, as systemd sets it);
    or one in the user's state directory that is named after the file.
    """
    file = Path(configuration).absolute()
    if setting is not None:
        return file.parent / Path(setting).expanduser()
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    name = re.sub(r"[^A-Za-z0-9._-]", "_", file.stem)[:40]
    return home() / f"{name}-{hashlib.sha256(os.fsencode(file)).hexdigest()[:12]}"


@contextlib.contextmanager
def _beside(file: Path) -> Iterator[tuple[Path, int]]:
    """A file that is under way to the place of another, and its descriptor; it is removed if it does not get there.

    It is locked for as long, so that `sweep` knows that somebody still works on it, whatever ends the process.
    """
    make_folder(file.parent)
    with acting():
        while True:
            beside = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            # Some file systems have no locks; nothing is swept there.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                break
            # Swept before it was locked.
            os.close(descriptor)
        try:
            yield beside, descriptor
        finally:
            beside.unlink(missing_ok=True)
            os.close(descriptor)


def sweep(folder: Path, *files: str) -> None:
    """Removes what was under way to the places of files in a folder when the process that wrote it was killed.

    It may hold secrets. What a process that lives has under way stays, as does all that looks otherwise.
    """
    with acting():
        try:
            found = list(folder.iterdir())
        except OSError:
            return
        names = [(file, _UNDER_WAY.fullmatch(file.name)) for file in found]
        left = [file for file, name in names if name and name[1] in files and _is_left(file)]
    for file in left:
        log.info("%s was removed: a process that was killed had it under way", file)


def _is_left(file: Path) -> bool:
    """Removes a file that nobody has locked; whether it did."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextlib.contextmanager
def replacing(file: Path, data: bytes, *, durable: bool = True) -> Iterator[Callable[[], None]]:
    """Gives a function that replaces a file, which has little left to fail: everything is on the disk before.

    Whoever reads the file, now or after a crash, finds the old or the new content; if not `durable`, not after a loss
    of power. Raises OSError.
    """
    with _beside(file) as (beside, descriptor):
        with open(descriptor, "wb", closefd=False) as opened:
            opened.write(data)
        if durable:
            os.fsync(descriptor)

        def replace() -> None:
            beside.replace(file)
            if durable:
                _settle(file.parent)

        yield replace


def write(file: Path, data: bytes, *, durable: bool = True) -> None:
    """Replaces a file at once and whole. Raises OSError."""
    with replacing(file, data, durable=durable) as replace:
        replace()


def remove(file: Path) -> None:
    """Removes a file that may not be there. Raises OSError."""
    with acting(), contextlib.suppress(FileNotFoundError):
        file.unlink()
        _settle(file.parent)


def _settle(folder: Path) -> None:
    """Has the names in a folder outlive a loss of power. What cannot be had is told: the names are others already."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("what was changed in %s may not outlive a loss of power: %s", folder, error.strerror)


def kept_secret(file: Path, what: str) -> str | None:
    """The secret in a file, or None if there is no such file. Links are not followed.

    Raises ConfigError if others than its owner can read or change it; `what` it is stands in the message.
    """
    try:
        with acting():
            descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with acting(), os.fdopen(descriptor, encoding="ascii", errors="replace") as opened:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            message = f"the file with {what} can be read or changed by others"
            raise ConfigError([Problem(str(file), None, None, "", message, f"remove it, or: chmod 600 {file}")])
        return opened.read(4096).strip() or None


def keep_secret(file: Path, secret: str, what: str) -> str:
    """Writes a secret that is not there yet. Of several that start at once one does, and all return its secret.

    Raises OSError, and ConfigError as `kept_secret`.
    """
    with _beside(file) as (beside, descriptor):
        with open(descriptor, "w", encoding="ascii", closefd=False) as opened:
            opened.write(secret + "\n")
        try:
            os.link(beside, file)
        except FileExistsError:
            found = kept_secret(file, what)
            if found is None:
                raise
            return found
    log.info("%s was generated: %s", what, file)
    return secret
