"""The last good copy: what a node starts with if the store is not there."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pylae import state
from pylae.config.document.files import reason

log = logging.getLogger("pylae.cluster")

NAME = "fleet.json"


@dataclass(frozen=True, slots=True)
class Copy:
    """A configuration that was the head once, and since when this node has it. It has no secrets, only references."""

    number: int
    document: Any
    at: str

    def text(self) -> str:
        """The document as text. JSON is valid YAML."""
        return json.dumps(self.document)


def kept(folder: Path, store: str) -> Copy | None:
    """Returns the copy in a state folder, if there is one of this store that can be read."""
    state.sweep(folder, NAME)
    file = folder / NAME
    try:
        found = json.loads(file.read_bytes())
        if found["version"] != 1 or not isinstance(found["number"], int) or found["number"] < 1:
            raise ValueError
        copy = Copy(found["number"], found["document"], str(found["at"]))
        of = found["store"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        why = reason(error) if isinstance(error, OSError) else "it is damaged"
        log.error("the last good copy %s cannot be used: %s", file, why)
        return None
    if of != store:
        log.warning("the last good copy %s is of another store, and is not used", file)
        return None
    return copy


def keep(folder: Path, store: str, number: int, document: Any) -> None:
    """Replaces the copy, at once and as a whole. Raises OSError."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    kept = {"version": 1, "store": store, "number": number, "at": now, "document": document}
    state.write(folder / NAME, json.dumps(kept).encode())


def drop(folder: Path) -> None:
    """Removes the copy. Raises OSError."""
    state.remove(folder / NAME)
