"""Reads files that a configuration is made of, and notes what they contain."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

from pylae.errors import ConfigError, Problem

MAX_BYTES = 32 * 1024 * 1024
"""Largest configuration file, in bytes."""
MAX_SECRET_BYTES = 1024 * 1024
"""Largest file for `${file:…}`, in bytes."""

_PIECE = 2**16


def read_text(path: Path, files: dict[Path, str | None]) -> str:
    """Returns the text of a configuration file and notes its hash in `files`. Raises ConfigError."""
    files[path] = None
    try:
        return read_bytes(path, MAX_BYTES, files).decode("utf-8-sig")
    except OSError as error:
        message = f"cannot be read: {reason(error)}"
    except UnicodeDecodeError as error:
        message = f"is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}"
    raise ConfigError([Problem(str(path), None, None, "", message)], files)


def read_bytes(path: Path, limit: int, files: dict[Path, str | None]) -> bytes:
    """Returns the content of a file and notes its hash in `files`. Raises OSError, also if it exceeds `limit` bytes."""
    files[path] = None
    data = bytearray()
    with path.open("rb") as file:
        # Read in pieces: a single read would allocate `limit` bytes even for a small file.
        while len(data) <= limit and (piece := file.read(_PIECE)):
            data += piece
    files[path] = digest(data)
    if len(data) > limit:
        size = f"{limit // 2**20} MB" if limit >= 2**20 else f"{limit // 2**10} KB"
        raise OSError(errno.EFBIG, f"larger than {size}")
    return bytes(data)


def digest(data: bytes | bytearray) -> str:
    """Returns a hash that distinguishes contents of a file."""
    return hashlib.sha256(data).hexdigest()


def reason(error: OSError) -> str:
    """Returns the system's text for an error, in lower case and without the path."""
    text = error.strerror or "unknown error"
    return text[:1].lower() + text[1:]
