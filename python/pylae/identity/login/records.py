"""Sessions in the store of the gateway. Its methods wait for the store: they are not for an event loop."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pylae.errors import LeaseExpiredError
from pylae.identity.ended import PREFIX as ENDED
from pylae.identity.login import session as sessions
from pylae.identity.login.session import Session
from pylae.store.store import Compare, Delete, Hold, Operation, Put

if TYPE_CHECKING:
    from pylae.engine import NativeSealer
    from pylae.store.kept import Kept
    from pylae.store.store import Lease, Store

log = logging.getLogger("pylae.auth")

HOLD = 15
"""Seconds for which a node refreshes a session before others take it that it is gone."""
_DAY = 24 * 3600
_GRACE = 60
"""Seconds that a lease lasts longer than what it is for."""


@dataclass(frozen=True, slots=True)
class Found:
    """A session with the revision that the store has of it."""

    session: Session
    revision: int


class Records:
    """The sessions of one authenticator. All threads can use it. What the store says is raised as StoreError."""

    def __init__(self, kept: Kept, sealer: NativeSealer, name: str) -> None:
        self._kept, self._sealer, self._name = kept, sealer, name

    @property
    def _store(self) -> Store:
        return self._kept.opened()

    def lease(self, lifetime: float, idle: float) -> Lease:
        """Makes the lease of a new session. One that nobody uses leaves the store long before it could end."""
        return self._store.grant(int(min(lifetime, max(2 * idle, _DAY))) + _GRACE)

    def begin(self, session: Session) -> None:
        """Writes a new session."""
        puts = [Put(key, b"{}", session.lease) for key in self._indexes(session)]
        self._store.txn([Compare(self._key(session.id), 0)], [self._put(session), *puts])

    def read(self, session_id: str) -> Found | None:
        """Returns a session, or None if there is none any more."""
        pair = self._store.get(self._key(session_id))
        if pair is None:
            return None
        plain = self._sealer.open(f"record {self._name}", pair.value.decode("ascii", "replace"))
        if plain is None:
            log.warning(
                "a session in %s was sealed with a secret that is not known here: it has ended", self._store.where
            )
            return None
        try:
            return Found(sessions.read(plain, session_id), pair.revision)
        except ValueError as error:
            log.error("the record of a session in %s does not count: %s", self._store.where, error)
            return None

    def write(self, session: Session, revision: int) -> int | None:
        """Changes a session that has this revision. Returns the new one; None if it has changed or ended meanwhile."""
        try:
            return self._store.txn([Compare(self._key(session.id), revision)], [self._put(session)])
        except LeaseExpiredError:
            return None

    def extend(self, session: Session) -> bool:
        """Lets a session that is used stay in the store. Returns False if it is not there any more."""
        if session.begun + session.lease.ttl >= session.ends:
            return True
        return self._store.keep_alive(session.lease)

    def end(self, session: Session, now: float) -> None:
        """Ends a session for all nodes."""
        store = self._store
        left = int(max(0, session.ends - now)) + _GRACE
        gone: list[Operation] = [Delete(self._key(session.id)), *map(Delete, self._indexes(session))]
        ended = Put(f"{ENDED}{session.id}", json.dumps({"x": session.ends}).encode(), store.grant(left))
        store.txn([], [*gone, ended])
        store.revoke(session.lease)

    def forget(self, session: Session) -> None:
        """Ends a session that no node takes any more."""
        self._store.revoke(session.lease)

    def hold(self, session_id: str, node: str) -> Hold | None:
        """Takes the right to refresh a session. Returns None if another node has it."""
        return self._store.hold(self._holding(session_id), node.encode(), HOLD)

    def release(self, hold: Hold) -> None:
        """Gives that right back."""
        self._store.revoke(hold.lease)

    def of_sid(self, sid: str) -> Iterator[Session]:
        """The sessions of one session at the provider."""
        yield from self._indexed(f"sessions-by-sid/{self._name}/{_hash(sid)}/")

    def of_subject(self, subject: str) -> Iterator[Session]:
        """The sessions of one user of the provider."""
        yield from self._indexed(f"sessions-by-sub/{self._name}/{_hash(subject)}/")

    def _indexed(self, prefix: str) -> Iterator[Session]:
        after, more = None, True
        while more:
            page = self._store.range(prefix, after=after)
            for pair in page.pairs:
                if (found := self.read(pair.key.removeprefix(prefix))) is not None:
                    yield found.session
            after, more = page.pairs[-1].key if page.pairs else None, page.more

    def has_told(self, token_id: str) -> bool:
        """Whether a logout token was accepted before."""
        return self._store.get(self._told(token_id)) is not None

    def tell(self, token_id: str, life: float) -> None:
        """Notes for `life` seconds that a logout token was accepted."""
        store = self._store
        store.put(self._told(token_id), b"{}", lease=store.grant(int(max(life, 0)) + _GRACE))

    def _put(self, session: Session) -> Put:
        value = self._sealer.seal(f"record {self._name}", session.stored())
        return Put(self._key(session.id), value.encode(), session.lease)

    def _key(self, session_id: str) -> str:
        return f"sessions/{self._name}/{session_id}"

    def _holding(self, session_id: str) -> str:
        return f"sessions-refresh/{self._name}/{session_id}"

    def _told(self, token_id: str) -> str:
        return f"sessions-logout/{self._name}/{_hash(token_id)}"

    def _indexes(self, session: Session) -> list[str]:
        keys = [f"sessions-by-sub/{self._name}/{_hash(session.subject)}/{session.id}"]
        if session.sid is not None:
            keys.append(f"sessions-by-sid/{self._name}/{_hash(session.sid)}/{session.id}")
        return keys


def _hash(text: str) -> str:
    """What stands for a text of a provider in a key: it may be of any length and have any characters."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())[:22].decode()
