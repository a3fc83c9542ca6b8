"""The configuration that was applied over the admin API: kept in the state folder, in force until its file changes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pylae import state
from pylae.config.document.load import Document
from pylae.config.document.written import as_written

log = logging.getLogger("pylae")

_NAME = "applied.json"


@dataclass(frozen=True, slots=True)
class Applied:
    """A document as it was written, secrets and all, when it was applied, and the hash of the file that it replaces."""

    document: Any
    at: str
    base: str | None

    def text(self) -> str:
        """The document as text; JSON is YAML."""
        return json.dumps(self.document)


def kept(folder: Path) -> Applied | None:
    """What is kept in a state folder, if anything that can be read is."""
    file = folder / _NAME
    try:
        found = json.loads(file.read_bytes())
        return Applied(found["document"], found["at"], found["base"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.error("the configuration in %s cannot be read (%s); the file is used", file, type(error).__name__)
        return None


def usable(folder: Path, base: str | None, file: Path) -> Applied | None:
    """What is kept at the start, unless the file that it replaces has changed since: then it is forgotten."""
    state.sweep(folder, _NAME)
    found = kept(folder)
    if found is not None and found.base != base:
        log.info("%s has changed since a configuration was applied over the admin API: the file counts", file)
        drop(folder)
        return None
    return found


def keeping(folder: Path, document: Document, base: str | None) -> AbstractContextManager[Callable[[], None]]:
    """Gives a function that keeps a document; all that can fail has been done then. Raises OSError."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    data = json.dumps({"at": now, "base": base, "document": as_written(document.root)}).encode()
    return state.replacing(folder / _NAME, data)


def drop(folder: Path) -> None:
    """Forgets what is kept: the file counts again."""
    try:
        state.remove(folder / _NAME)
    except OSError as error:
        log.error("%s cannot be removed: %s", folder / _NAME, error.strerror)
