"""The tokens of a running gateway: who presents one is found without the store, and changes are made in it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, ip_network
from pathlib import Path

from pylae import state
from pylae.access import table
from pylae.access.scopes import Scopes, may_register
from pylae.access.token import Hashed, Token, compare_with_nothing, new_id, new_secret, presented, read
from pylae.errors import ConflictError, PylaeError, StoreError, StoreUnavailableError
from pylae.store.following import Following, FollowingWords
from pylae.store.kept import Kept
from pylae.store.store import RESTORING, Compare, Delete, Operation, Put, Store

log = logging.getLogger("pylae.admin")

PREFIX = "tokens/"
HEAD = "token-changes"
"""The key that every change of a token changes too, so that changes follow each other."""
MOST = 1000
"""Tokens that are valid."""
_MOST_KEPT = 2 * MOST
"""Tokens in the store, with those that are over."""
_FORGOTTEN_AT_ONCE = 32
_TRIES = 20
_MINUTE = 60.0
_WORDS = FollowingWords(
    log,
    "pylae-tokens",
    "tokens of the admin API are used as they were last known: %s",
    "tokens of the admin API are those of the store again",
    "the tokens in the store cannot be followed, trying again",
)


class ScopeError(PylaeError):
    """The caller may not do this."""


class UnknownTokenError(PylaeError):
    """There is no such token."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who presents a token.

    Attributes:
        token: The token, or None if it is the gateway's own.
        scopes: What it allows.
        sha256: The hash of what was presented.
    """

    token: Token | None
    scopes: Scopes
    sha256: str = ""


class Tokens(Following):
    """The tokens of a gateway. All threads can use it. `clock` is in seconds since 1970."""

    def __init__(self, kept: Kept, folder: Path, clock: Callable[[], float] = time.time) -> None:
        super().__init__(kept, PREFIX, _WORDS)
        self._folder, self._clock = folder, clock
        self._lock = threading.Lock()
        """Held while the table changes."""
        self._used: dict[str, float] = {}
        self.refused = 0
        """How often a client has presented what is no valid token."""
        state.sweep(folder, table.NAME)
        copy = table.load(folder, kept.where)
        self._table = copy.table
        self._current = copy.current

    def start(self) -> None:
        """Follows a shared store. One that is not shared is not opened, unless the copy of it does not count."""
        if not self._kept.shared:
            if self._current or not self._may_have_tokens():
                return
            try:
                with self._lock:
                    self._refresh(self._kept.opened())
            except StoreError as error:
                self._say(error)
            else:
                return
        self._begin()

    def _may_have_tokens(self) -> bool:
        # The name of the file is known without the libraries of SQLite.
        return os.path.lexists(self._folder / "store.db")

    def find(self, credential: bytes) -> Bearer | str:
        """Returns who presents this, or why it is nobody, which is for the log alone."""
        found = self._found(credential)
        if isinstance(found, str):
            self.refused += 1
        return found

    def _found(self, credential: bytes) -> Bearer | str:
        found = presented(credential)
        if found is None:
            return "it is no token"
        token_id, sha256 = found
        now = self._clock()
        known = self._table.get(token_id)
        if known is None:
            compare_with_nothing(sha256)
            return "there is no such token"
        token = known.token
        if not token.accepts(sha256, now):
            return f"it is no secret of the token {token.name}, or not any more"
        if not known.stored:
            return f"the store has the token {token.name} no more"
        if token.revoked is not None:
            return f"the token {token.name} was revoked"
        if now >= token.expires:
            return f"the token {token.name} has expired"
        self._used[token_id] = now - now % _MINUTE
        return Bearer(token, Scopes(token.scopes), sha256)

    def holds(self, bearer: Bearer) -> bool:
        """Whether who was found before is still valid."""
        if bearer.token is None:
            return True
        known, now = self._table.get(bearer.token.id), self._clock()
        return known is not None and known.stored and known.token.lives(now) and known.token.accepts(bearer.sha256, now)

    def is_living(self, token_id: str) -> bool:
        """Whether there is a valid token with this id."""
        known = self._table.get(token_id)
        return known is not None and known.stored and known.token.lives(self._clock())

    def last_used(self, token_id: str) -> float | None:
        """The minute in which this node last saw it, in seconds since 1970; None if it has not, since its start."""
        return self._used.get(token_id)

    def listed(self) -> list[Token]:
        """Returns all tokens that the store has, by name. Raises StoreError."""
        with self._lock:
            self._refresh(self._kept.opened())
            found = [one.token for one in self._table.values() if one.stored]
        return sorted(found, key=lambda one: (one.name, one.created))

    def create(self, wanted: Token, giver: Bearer) -> tuple[Token, str]:
        """Makes a token as wanted, and returns it with its secret, which is not kept.

        Raises ScopeError, ConflictError and StoreError. Id, number and secrets of `wanted` do not count.
        """
        token_id = new_id()
        secret, sha256 = new_secret(token_id)

        def change(known: dict[str, Token], now: float) -> Token:
            alive = [one for one in known.values() if one.lives(now)]
            if any(one.name == wanted.name for one in alive):
                raise ConflictError(f"there is a token {wanted.name} already")
            if len(alive) >= MOST:
                raise ConflictError(f"there are {MOST} tokens already; revoke those that nobody needs")
            return made

        made = _with_secret(wanted, token_id, sha256)
        _refuse_escalation(made, giver)
        return self._change(change), secret

    def rotate(self, name: str, overlap: float, lifetime: float | None, giver: Bearer) -> tuple[Token, str]:
        """Gives a token another secret, which is returned and not kept. Those before end after `overlap` seconds.

        It lasts for `lifetime` seconds from now, or as long as it was made to last. Raises ScopeError,
        UnknownTokenError and StoreError.
        """
        secrets: list[str] = []

        def change(known: dict[str, Token], now: float) -> Token:
            found = _named(name, known, now)
            secret, sha256 = new_secret(found.id)
            secrets[:] = [secret]
            expires = now + (lifetime if lifetime is not None else found.expires - found.created)
            if lifetime is None and giver.token is not None:
                expires = min(expires, giver.token.expires)
            rotated = found.rotated(sha256, overlap, expires, now)
            _refuse_escalation(rotated, giver)
            return rotated

        rotated = self._change(change)
        return rotated, secrets[0]

    def revoke(self, name: str) -> Token:
        """Ends a token at once. Raises UnknownTokenError and StoreError."""
        return self._change(lambda known, now: _revoked(_named(name, known, now), now))

    def _change(self, change: Callable[[dict[str, Token], float], Token]) -> Token:
        """Makes a change of one token, in the store, in the copy and here. Raises what it raises, and StoreError."""
        with self._lock:
            store = self._kept.opened()
            for _ in range(_TRIES):
                head = store.get(HEAD)
                self._refresh(store)
                now = self._clock()
                known = {one.token.id: one.token for one in self._table.values() if one.stored}
                changed = change(known, now)
                # Killed from here on, it does not trust its copy at the next start.
                self._save(current=False)
                count = Put(HEAD, b'{"version":1}')
                guard = Compare(HEAD, head.revision if head else 0)
                operations: list[Operation] = [count, Put(PREFIX + changed.id, changed.kept())]
                operations += self._overdue(known, now)
                if store.txn([guard], operations) is not None:
                    # Nobody has changed another one meanwhile.
                    self._table = {**self._table, changed.id: table.Remembered(changed, stored=True)}
                    self._save(current=True)
                    return changed
            raise StoreUnavailableError(f"{store.where}: other nodes change tokens all the time", "try again")

    def _overdue(self, known: dict[str, Token], now: float) -> Sequence[Operation]:
        """What removes tokens from the store that are over, if there are too many."""
        # Revoked ones stay until they would have expired, so that all nodes learn of it.
        over = sorted((one for one in known.values() if now >= one.expires), key=lambda one: one.expires)
        spare = len(known) - _MOST_KEPT
        if spare > len(over):
            revoked = sorted((one for one in known.values() if one.revoked and now < one.expires), key=_revoked_at)
            over += revoked[: spare - len(over)]
        old = [one for one in over if spare > 0 or now - one.expires > 7 * 24 * 3600]
        return [Delete(PREFIX + one.id) for one in old[:_FORGOTTEN_AT_ONCE]]

    def _refresh(self, store: Store) -> int:
        """Takes what the store has, and gives it back what it has forgotten. Returns the revision. With the lock."""
        if store.get(RESTORING) is not None:
            raise StoreUnavailableError(f"{store.where} is being restored", "let it end")
        with store.snapshot(PREFIX) as snapshot:
            pairs = list(snapshot.pairs)
        found, revisions = [], {}
        for one in pairs:
            token_id = one.key.removeprefix(PREFIX)
            try:
                found.append(read(one.value, token_id))
                revisions[token_id] = one.revision
            except ValueError as error:
                log.error("the token at %s in %s does not count: %s", one.key, store.where, error)
        known, back = table.merged(self._table, found, self._clock())
        for later in back:
            key = PREFIX + later.id
            if store.txn([Compare(key, revisions[later.id])], [Put(key, later.kept())]) is not None:
                log.warning("%s had the token %s as it was earlier; that was undone", store.where, later.name)
        changed = known != self._table
        self._table = known
        self._used = {token_id: at for token_id, at in self._used.items() if token_id in known}
        if changed or not self._current:
            self._save(current=True)
        return snapshot.revision

    def _save(self, *, current: bool) -> None:
        try:
            table.save(self._folder, self._kept.where, self._table, current=current)
        except OSError as error:
            raise StoreError(
                f"the copy of the tokens cannot be written into {self._folder}: {error.strerror}",
                "nothing was changed" if not current else "the store has the change; make room, and look again",
            ) from None
        self._current = current

    def _take_all(self, store: Store) -> int:
        with self._lock:
            return self._refresh(store)


def unlimited(sha256: str = "") -> Bearer:
    """Returns who may do everything."""
    return Bearer(None, Scopes(unlimited=True), sha256)


def _with_secret(wanted: Token, token_id: str, sha256: str) -> Token:
    return replace(wanted, id=token_id, number=1, secrets=(Hashed(sha256),), revoked=None)


def _named(name: str, known: dict[str, Token], now: float) -> Token:
    found = next((one for one in known.values() if one.name == name and one.lives(now)), None)
    if found is None:
        raise UnknownTokenError(f"there is no valid token {name}")
    return found


def _revoked(token: Token, now: float) -> Token:
    return replace(token, number=token.number + 1, revoked=now, secrets=())


def _revoked_at(token: Token) -> float:
    return token.revoked or 0.0


def _refuse_escalation(token: Token, giver: Bearer) -> None:
    """Raises ScopeError if a token could do more than who makes it, or the same for longer."""
    own = giver.token
    if own is None:
        return
    if missing := giver.scopes.missing(token.scopes):
        raise ScopeError(f"the token {own.name} cannot give scopes that it has not: {', '.join(missing)}")
    if token.expires > own.expires:
        raise ScopeError(f"the token {own.name} cannot make one that lasts longer than itself")
    if may_register(token.scopes):
        wider = not token.networks or not own.networks or not _is_within(token.networks, own.networks)
        if (own.networks or token.networks) and wider:
            raise ScopeError(f"the token {own.name} can only give networks that are within its own")
        if token.max_instances > own.max_instances:
            raise ScopeError(f"the token {own.name} can let others register at most {own.max_instances} instances")


def _is_within(networks: tuple[str, ...], own: tuple[str, ...]) -> bool:
    def inside(one: str, other: str) -> bool:
        inner, outer = ip_network(one), ip_network(other)
        if isinstance(inner, IPv4Network):
            return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
        return not isinstance(outer, IPv4Network) and inner.subnet_of(outer)

    return all(any(inside(one, other) for other in own) for one in networks)
