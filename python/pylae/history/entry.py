"""An entry of the history: who put which configuration in force, when, why and how, and what differs from before."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from pylae.config.document.nodes import show_path
from pylae.config.document.written import differences
from pylae.errors import StoreError

MOST_CHANGES = 200
"""Changes that an entry lists."""
MOST_TEXT = 200
"""Characters of the JSON of a value in a change. A longer one is cut."""
MOST_PATH = 300
"""Characters of the path of a change. A longer one is cut."""
MOST_REASON = 500
"""Characters of a reason."""
MOST_NAME = 200
"""Characters of a name."""
_STRANGE = re.compile(r"[^\S ]|[\0-\x1f\x7f-\x9f]")

How = Literal["start", "file", "signal", "reload", "admin", "program", "rollback", "apply"]
"""What has put a configuration in force: the start of a gateway, a file that has changed, SIGHUP, a reload that
somebody asked for, a PUT over the admin API, a program, a rollback, or `pylae apply`."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a configuration is put in force.

    Attributes:
        author: Who does it: the caller of the admin API, or `file`, `signal`, `program`.
        reason: What was said about it.
        returns_to: The number of the entry that a rollback returns to.
    """

    how: How
    author: str
    reason: str | None = None
    returns_to: int | None = None


class _Recorded(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Change(_Recorded):
    """A setting that differs from the entry before."""

    path: Annotated[str, Field(max_length=MOST_PATH)]
    """Path of the setting. Items of lists are told apart by name, if all of them have one."""
    before: Any
    """What it was; null if it was not there. A value whose JSON is too long is the beginning of it, as a text."""
    after: Any
    """What it is; null if it is not there any more."""
    cut: bool = False
    """Whether one of the values, or the path, is only the beginning."""


class Entry(_Recorded):
    """A configuration that was put in force."""

    version: Literal[1] = 1
    """Version of this form."""
    number: Annotated[int, Field(ge=1, lt=10**10)]
    """Number of the entry. The next one has the next number."""
    id: Annotated[str, Field(min_length=1, max_length=100)]
    """What tells it apart from all other entries, of other stores too."""
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the configuration, without secrets."""
    at: AwareDatetime
    """When it was put in force."""
    author: Annotated[str, Field(max_length=MOST_NAME)]
    """Who did it."""
    how: Annotated[str, Field(pattern=r"^[a-z_-]{1,32}$")]
    """What did it: start, file, signal, reload, admin, program, rollback or apply."""
    reason: Annotated[str, Field(max_length=MOST_REASON)] | None = None
    """What was said about it."""
    node: Annotated[str, Field(max_length=MOST_NAME)] | None = None
    """The node that accepted it, if gateways share the store."""
    returns_to: Annotated[int, Field(ge=1, lt=10**10)] | None = None
    """The number of the entry that a rollback returned to."""
    outcome: Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")] | None = None
    """How its roll-out to other gateways has ended: done, refused, taken_back or cancelled."""
    changes: Annotated[tuple[Change, ...], Field(max_length=MOST_CHANGES)] = ()
    """What differs from the entry before, or the first of it."""
    count: Annotated[int, Field(ge=0)] | None = None
    """How many settings differ. Null if the entry before could not be read."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """An entry that cannot be read, and why."""

    number: int
    why: str


def read_entry(data: bytes, number: int, where: str) -> Entry:
    """Reads an entry, which may be anything. Raises StoreError that says what is wrong with it."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise damaged(where, number, "it is not JSON") from None
    if isinstance(found, dict) and found.get("version", 1) != 1:
        raise StoreError(
            f"entry {number} of the history in {where} is in a form that this version of Pylae does not know",
            "use the version of Pylae that has written it",
        )
    try:
        entry = Entry.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise damaged(where, number, f"{show_path(first['loc']) or 'it'}: {first['msg']}") from None
    except RecursionError:
        raise damaged(where, number, "it is nested too deep") from None
    if entry.number != number:
        raise damaged(where, number, f"it says that it is entry {entry.number}")
    return entry


def damaged(where: str, number: int, why: str) -> StoreError:
    """Returns the error for an entry that is there and cannot be used."""
    return StoreError(
        f"entry {number} of the history in {where} is damaged: {why}",
        "the other entries can be used; a backup from before may have this one",
    )


def line(text: str, most: int) -> str:
    """Returns a text of somebody else as one line of bounded length, without control characters."""
    return _STRANGE.sub(" ", _encodable(text))[:most]


def changes_between(before: Any, after: Any) -> tuple[tuple[Change, ...], int]:
    """Returns the differences between two documents, as far as an entry lists them, and how many there are."""
    listed: list[Change] = []
    count = 0
    for path, old, new in differences(before, after):
        count += 1
        if len(listed) < MOST_CHANGES:
            listed.append(_change(show_path(path), old, new))
    return tuple(listed), count


def _change(path: str, old: Any, new: Any) -> Change:
    before, after = _bounded(old), _bounded(new)
    is_cut = len(path) > MOST_PATH or before[1] or after[1]
    return Change(path=_encodable(path)[:MOST_PATH], before=before[0], after=after[0], cut=is_cut)


def _bounded(value: Any) -> tuple[Any, bool]:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    clean = _encodable(text)
    return (value, False) if clean == text and len(text) <= MOST_TEXT else (clean[:MOST_TEXT], True)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
