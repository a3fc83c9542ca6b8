"""Refreshes the tokens of sessions (RFC 6749, section 6): once for all who wait, on whichever node.

A provider that rotates refresh tokens takes each of them once, and takes a second use for a theft. So a node holds a
session while it refreshes it, and writes the new token before anybody goes on. Who waits reads what was written.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pylae.errors import StoreError
from pylae.identity.login.failures import IdentityError, ProviderError
from pylae.identity.login.provider import PATIENCE
from pylae.identity.login.records import Found
from pylae.identity.login.session import MOST_HINT, Member, Session
from pylae.identity.login.tokens import TokenAnswer, claims_of, id_claims, token_answer

if TYPE_CHECKING:
    from pylae.config.models.authenticators.oidc import Oidc
    from pylae.identity.login.members import Members
    from pylae.identity.login.provider import Provider
    from pylae.identity.login.records import Records
    from pylae.registry.client import Reply
    from pylae.store.store import Hold

log = logging.getLogger("pylae.auth")

POSTPONED = 15
"""Seconds until a refresh is tried again for which the provider was not there."""
MISCONFIGURED = 60
"""Seconds until a refresh is tried again that the provider refuses to this client whatever the session is."""
_LONGEST_WAIT = PATIENCE + 3
"""Seconds that a request waits for the refresh of another node."""
_LOOK, _LONGEST_LOOK = 0.03, 0.3
"""Seconds between two looks at what another node has written."""
_TRIES = 10
_UNWRITTEN = 1000


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A session after a refresh. With `again`, that failed, and it is to be looked at again in so many seconds."""

    found: Found
    again: int | None = None


def due(answer: TokenAnswer, ahead: float, now: float) -> int | None:
    """Returns when the tokens of an answer are to be refreshed: `ahead` seconds before the end, but not at once."""
    if answer.refresh is None:
        return None
    return int(now + max(answer.life - ahead, answer.life / 2, 1))


def hint(token: str | None) -> str | None:
    """Returns an ID token if it is to be kept for the logout."""
    return token if token is not None and len(token) <= MOST_HINT else None


class Refresher:
    """Refreshes the sessions of one authenticator. It is used on the loop of the hooks alone."""

    def __init__(
        self,
        settings: Oidc,
        provider: Provider,
        records: Records,
        members: Members,
        failed: Callable[[IdentityError], None],
    ) -> None:
        """`failed` notes why a refresh has failed."""
        self._settings, self._provider, self._records, self._members = settings, provider, records, members
        self._failed = failed
        self._node = socket.gethostname()[:64]
        self._unwritten: dict[str, Session] = {}

    async def refresh(self, found: Found) -> Refreshed | None:
        """Refreshes a session that is due. Returns None if it has ended. Raises StoreError.

        Raises IdentityError if the provider refuses, or the user has no access any more: the session is to end then.
        """
        end = time.monotonic() + _LONGEST_WAIT
        pause = _LOOK
        session_id = found.session.id
        while True:
            hold = await asyncio.to_thread(self._records.hold, session_id, self._node)
            if hold is not None:
                try:
                    return await self._alone(session_id)
                finally:
                    await self._released(hold)
            if time.monotonic() > end:
                return Refreshed(found, POSTPONED)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_LOOK)
            again = await asyncio.to_thread(self._records.read, session_id)
            if again is None or not _is_due(again.session):
                return _refreshed(again)

    async def _released(self, hold: Hold) -> None:
        try:
            await asyncio.to_thread(self._records.release, hold)
        except StoreError as error:
            log.warning("a session stays held until its lease ends: %s", error)

    async def _alone(self, session_id: str) -> Refreshed | None:
        """Refreshes a session that this node holds."""
        found = await asyncio.to_thread(self._records.read, session_id)
        unwritten = self._unwritten.pop(session_id, None)
        if found is not None and unwritten is not None and unwritten.renewals > found.session.renewals:
            # Taken from the provider while the store was away.
            found = await self._written(unwritten, found)
        if found is None or not _is_due(found.session) or found.session.refresh is None:
            return _refreshed(found)
        try:
            reply = await self._ask(found.session.refresh)
            if reply.status != 200:
                return await self._refused(reply, found)
            answer = token_answer(reply)
        except ProviderError as error:
            self._failed(error)
            return await self._postponed(found, POSTPONED)
        return await self._taken(answer, found)

    async def _postponed(self, found: Found, wait: int) -> Refreshed | None:
        """Has all nodes leave the provider alone about this session, for `wait` seconds."""
        later = replace(found.session, due=int(time.time()) + wait)
        revision = await asyncio.to_thread(self._records.write, later, found.revision)
        if revision is not None:
            return Refreshed(Found(later, revision), wait)
        again = await asyncio.to_thread(self._records.read, later.id)
        return None if again is None else Refreshed(again, wait)

    async def _ask(self, refresh: str) -> Reply:
        url = (await self._provider.metadata()).token
        parameters = [("grant_type", "refresh_token"), ("refresh_token", refresh)]
        return await self._provider.form("refresh_failed", url, parameters)

    async def _refused(self, reply: Reply, found: Found) -> Refreshed | None:
        """What follows from a refusal (RFC 6749, section 5.2)."""
        error = error_of(reply)
        if error != "invalid_grant":
            # It says nothing about this session.
            self._failed(IdentityError("client_refused", f"{reply.status}, {error}"))
            return await self._postponed(found, MISCONFIGURED)
        again = await asyncio.to_thread(self._records.read, found.session.id)
        if again is None or again.session.renewals != found.session.renewals:
            return _refreshed(again)
        raise IdentityError("refresh_refused")

    async def _taken(self, answer: TokenAnswer, found: Found) -> Refreshed | None:
        """Writes what the provider has given, then looks at who the user is now."""
        now = time.time()
        fresh = replace(answer, refresh=answer.refresh or found.session.refresh)
        renewed = replace(
            found.session,
            refresh=fresh.refresh,
            due=due(fresh, self._settings.refresh_ahead.total_seconds(), now),
            hint=hint(answer.identity) or found.session.hint,
            renewals=found.session.renewals + 1,
            seen=int(now),
        )
        written = await self._written(renewed, found)
        if written is None or written.session.renewals != renewed.renewals:
            return _refreshed(written)
        try:
            member = await self._member(answer, written.session)
        except ProviderError as error:
            self._failed(error)
            return Refreshed(written)
        if member == written.session.member:
            return Refreshed(written)
        written = await self._written(replace(written.session, member=member), written)
        return _refreshed(written)

    async def _member(self, answer: TokenAnswer, session: Session) -> Member:
        """The user by the tokens of a refresh. Raises IdentityError."""
        if answer.identity is not None:
            leeway = self._settings.leeway.total_seconds()
            claims = await id_claims(self._provider, self._settings.client_id, answer, nonce=None, leeway=leeway)
            if claims["sub"] != session.subject:
                # OpenID Connect Core, section 12.2.
                raise IdentityError("subject_changed")
        elif self._settings.userinfo and session.hint is not None:
            claims = claims_of(session.hint)
        else:
            return session.member
        return await self._members.of(claims, answer.access)

    async def _written(self, session: Session, before: Found) -> Found | None:
        """Writes a session, over what others have noted meanwhile. Returns what the store has then."""
        self._unwritten[session.id] = session
        if len(self._unwritten) > _UNWRITTEN:
            del self._unwritten[next(iter(self._unwritten))]
        found: Found | None = before
        for _ in range(_TRIES):
            if found is None or _is_of_other_refresh(found.session, session):
                break
            session = replace(session, seen=max(session.seen, found.session.seen))
            revision = await asyncio.to_thread(self._records.write, session, found.revision)
            if revision is not None:
                found = Found(session, revision)
                break
            found = await asyncio.to_thread(self._records.read, session.id)
        self._unwritten.pop(session.id, None)
        return found


def error_of(reply: Reply) -> str:
    """Returns the word of an error response (RFC 6749, section 5.2), or `?` if it is none that one could log."""
    try:
        document = reply.json()
    except ValueError:
        return "?"
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, str) and error.isascii() and error.isidentifier() and len(error) <= 64 else "?"


def _refreshed(found: Found | None) -> Refreshed | None:
    return None if found is None else Refreshed(found)


def _is_of_other_refresh(known: Session, session: Session) -> bool:
    """Whether what the store has comes from a refresh that is not before this one."""
    if known.renewals == session.renewals:
        return known.refresh != session.refresh
    return known.renewals > session.renewals


def _is_due(session: Session) -> bool:
    return session.due is not None and time.time() >= session.due
