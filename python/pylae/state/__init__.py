"""What outlives a restart: a folder that only its owner can read, in which files are replaced atomically."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pylae.errors import ConfigError, Problem
from pylae.state.owner import acting, make_folder

log = logging.getLogger("pylae.config")

_UNDER_WAY = re.compile(r"\.(.+)\.[0-9a-f]{16}")
"""Names of temporary files that are to replace others."""


def home() -> Path:
    """Returns the user's state directory (XDG Base Directory Specification)."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "pylae"


def folder_of(configuration: str | Path, setting: str | None) -> Path:
    """Returns the state folder of the gateway that a file configures.

    It is `state`, relative to the file; or else that of the service manager (STATE_DIRECTORY, which systemd sets); or
    else a folder in the user's state directory that is named after the file.
    """
    file = Path(configuration).absolute()
    if setting is not None:
        return file.parent / Path(setting).expanduser()
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    name = re.sub(r"[^A-Za-z0-9._-]", "_", file.stem)[:40]
    return home() / f"{name}-{hashlib.sha256(os.fsencode(file)).hexdigest()[:12]}"


@contextlib.contextmanager
def temporary(file: Path) -> Iterator[tuple[Path, int]]:
    """Yields a temporary file next to the one that it will replace, and its descriptor. Removes it if it is not used.

    It is locked meanwhile, so that `sweep` sees that a process still works on it. The lock ends with the process.
    """
    make_folder(file.parent)
    with acting():
        while True:
            beside = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            # Some file systems have no locks. Nothing is swept there.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                break
            # `sweep` removed it before it was locked.
            os.close(descriptor)
        try:
            yield beside, descriptor
        finally:
            beside.unlink(missing_ok=True)
            os.close(descriptor)


def sweep(folder: Path, *files: str) -> None:
    """Removes temporary files of processes that were killed. They may contain secrets.

    Without `files`, all temporary files in the folder are meant. Keeps those of living processes, and all other files.
    """
    with acting():
        try:
            found = list(folder.iterdir())
        except OSError:
            return
        names = [(file, _UNDER_WAY.fullmatch(file.name)) for file in found]
        left = [file for file, name in names if name and (not files or name[1] in files) and _is_left(file)]
    for file in left:
        log.info("%s was removed: a killed process left it behind", file)


def _is_left(file: Path) -> bool:
    """Removes a file that nobody has locked. Returns whether it did."""
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
def replacing(file: Path, data: bytes | Iterable[bytes], *, durable: bool = True) -> Iterator[Callable[[], None]]:
    """Yields a function that replaces a file. Everything is on the disk before, so that little can fail.

    Readers see the old or the new content, now and after a crash. Without `durable`, this does not hold for a power
    loss. Raises OSError.
    """
    with temporary(file) as (beside, descriptor):
        with open(descriptor, "wb", closefd=False) as opened:
            opened.writelines([data] if isinstance(data, bytes) else data)
        if durable:
            os.fsync(descriptor)

        def replace() -> None:
            beside.replace(file)
            if durable:
                settle(file.parent)

        yield replace


def write(file: Path, data: bytes, *, durable: bool = True) -> None:
    """Replaces a file atomically. Raises OSError."""
    with replacing(file, data, durable=durable) as replace:
        replace()


def remove(file: Path) -> None:
    """Removes a file if it exists. Raises OSError."""
    with acting(), contextlib.suppress(FileNotFoundError):
        file.unlink()
        settle(file.parent)


def settle(folder: Path) -> None:
    """Makes the names in a folder outlive a power loss. A failure is only logged, because the names have changed
    already.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("changes in %s may be lost in a power failure: %s", folder, error.strerror)


def kept_secret(file: Path, what: str) -> str | None:
    """Returns the secret in a file, or None if the file does not exist. Does not follow links.

    Raises ConfigError if other users can read or change the file. `what` describes the secret in the message.
    """
    try:
        with acting():
            descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with acting(), os.fdopen(descriptor, encoding="ascii", errors="replace") as opened:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            message = f"other users can read or change the file with {what}"
            raise ConfigError([Problem(str(file), None, None, "", message, f"remove it, or: chmod 600 {file}")])
        return opened.read(4096).strip() or None


def keep_secret(file: Path, secret: str, what: str) -> str:
    """Stores a secret that does not exist yet. If several processes do this at once, all return the same secret.

    Raises OSError, and ConfigError as `kept_secret`.
    """
    with temporary(file) as (beside, descriptor):
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
