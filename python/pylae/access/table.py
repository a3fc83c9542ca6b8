"""The tokens that a node knows, and its copy of them in the state folder, for while the store is away or not open.

A store can go back in time: someone restores a backup. So a node remembers what it knew last of every token that has
not expired. A record in the store that is older than that does not count, and is replaced by what the node knows: a
revoked token stays revoked, and a secret that was rotated away stays away. A token that the store does not have does
not count either, for as long as that is so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pylae import state
from pylae.access.token import Token, read

log = logging.getLogger("pylae.admin")

NAME = "tokens.json"
VERSION = 1
MOST_REMEMBERED = 4000
"""Tokens that a node remembers. Beyond that, those are forgotten first that end first."""
_LONGEST = 64 * 1024 * 1024
"""Bytes of the copy."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A token as a node last saw it, and whether the store has it."""

    token: Token
    stored: bool


Table = Mapping[str, Remembered]
"""Tokens by id."""


def merged(known: Table, stored: Iterable[Token], now: float) -> tuple[Table, list[Token]]:
    """Returns what a node knows once it has seen all tokens of the store, and those that the store must be given back.

    `stored` is all that the store has.
    """
    found: dict[str, Remembered] = {}
    back: list[Token] = []
    for one in stored:
        before = known.get(one.id)
        if before is not None and before.token.is_later_than(one):
            back.append(before.token)
            found[one.id] = Remembered(before.token, stored=True)
        else:
            found[one.id] = Remembered(one, stored=True)
    for token_id, before in known.items():
        if token_id not in found and now < before.token.expires:
            found[token_id] = Remembered(before.token, stored=False)
    if len(found) > MOST_REMEMBERED:
        latest = sorted(found.values(), key=lambda one: (one.stored, one.token.expires), reverse=True)
        found = {one.token.id: one for one in latest[:MOST_REMEMBERED]}
    return found, back


def living(table: Table, now: float) -> Iterator[Token]:
    """Yields the tokens that are valid."""
    for one in table.values():
        if one.stored and one.token.lives(now):
            yield one.token


@dataclass(frozen=True, slots=True)
class Copy:
    """What is in the state folder. `current`: no change was under way, and nobody has restored a backup since."""

    table: Table
    current: bool


def load(folder: Path, where: str) -> Copy:
    """Reads the copy in a state folder, of the store `where`. Without one, it is empty and not current."""
    file = folder / NAME
    try:
        if file.stat().st_size > _LONGEST:
            raise ValueError("it is too long")
        document = json.loads(file.read_bytes())
        if document["version"] != VERSION:
            raise ValueError("it is of another version of Pylae")
        if document["store"] != where:
            log.info("%s is of another store, %s: it does not count", file, str(document["store"])[:200])
            return Copy({}, current=False)
        table = {}
        for said in document["tokens"]:
            token = read(json.dumps(said["token"]).encode(), str(said["token"]["id"]))
            table[token.id] = Remembered(token, stored=said["stored"] is True)
        return Copy(table, current=document["current"] is True)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        log.error("the copy of the tokens in %s cannot be read (%s); the store counts", file, error)
    return Copy({}, current=False)


def save(folder: Path, where: str, table: Table, *, current: bool) -> None:
    """Writes the copy. Raises OSError."""
    tokens = [{"token": json.loads(one.token.kept()), "stored": one.stored} for one in table.values()]
    document = {"version": VERSION, "store": where, "current": current, "tokens": tokens}
    state.write(folder / NAME, json.dumps(document).encode())


def outdate(folder: Path) -> None:
    """Notes that the store may have other tokens than the copy, because a backup is restored. Raises OSError."""
    file = folder / NAME
    try:
        document = json.loads(file.read_bytes())
        document["current"] = False
    except FileNotFoundError:
        return
    except (ValueError, TypeError, RecursionError):
        # It does not count anyway.
        return
    state.write(file, json.dumps(document).encode())
