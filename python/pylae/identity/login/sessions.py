"""The sessions of an authenticator: looked up, refreshed, and ended."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pylae.identity.flights import Flights
from pylae.identity.login import session as session_of
from pylae.identity.login.failures import IdentityError
from pylae.identity.login.records import Found
from pylae.identity.login.refresh import Refresher

if TYPE_CHECKING:
    from pylae.config.models.authenticators.oidc import Oidc
    from pylae.identity.login.members import Members
    from pylae.identity.login.provider import Provider
    from pylae.identity.login.records import Records
    from pylae.identity.login.session import Session
    from pylae.identity.surroundings import Surroundings

log = logging.getLogger("pylae.auth")


@dataclass(frozen=True, slots=True)
class Checked:
    """A session that lasts, and when it is to be looked up again, in seconds since 1970."""

    session: Session
    check: int


class Sessions:
    """The sessions of one authenticator. It is used on the loop of the hooks alone."""

    def __init__(
        self, settings: Oidc, provider: Provider, records: Records, members: Members, surroundings: Surroundings
    ) -> None:
        self._settings, self._records, self._surroundings = settings, records, surroundings
        self._idle = settings.idle.total_seconds()
        self._refresher = Refresher(settings, provider, records, members, self.has_failed)
        self._flights: Flights[str, Checked | None] = Flights()

    def has_failed(self, error: IdentityError, request_id: str = "") -> None:
        """Notes why something has failed: in the log, and in the metrics."""
        reason = f"oidc_{error.reason}"
        detail = f" ({error.detail})" if error.detail else ""
        log.warning("%s: %s%s%s", self._settings.name, reason, detail, f", request {request_id}" if request_id else "")
        self._surroundings.figures.count("pylae_login_failures_total", self._settings.name, reason)

    async def check(self, session_id: str) -> Checked | None:
        """Looks a session up that is used. Returns None if it has ended. Raises StoreError.

        Its tokens are refreshed if they are due, and it is noted that it is used: once for all who ask meanwhile.
        """
        return await self._flights.run(session_id, lambda: self._check(session_id))

    async def _check(self, session_id: str) -> Checked | None:
        found: Found | None = await self.found(session_id)
        if found is None:
            return None
        again = None
        session, now = found.session, time.time()
        if session.due is not None and now >= session.due:
            try:
                refreshed = await self._refresher.refresh(found)
            except IdentityError as error:
                self.has_failed(error)
                self._count("pylae_session_refreshes_total", "refused")
                await self.end(session, "refresh")
                return None
            if refreshed is None:
                return None
            self._count_refresh(session, refreshed.found.session, refreshed.again)
            found, again = refreshed.found, refreshed.again
        found = await self._noted(found)
        if found is None:
            return None
        check = found.session.check(self._idle)
        return Checked(found.session, check if again is None else min(int(time.time()) + again, found.session.ends))

    def _count_refresh(self, before: Session, after: Session, again: int | None) -> None:
        if again is not None:
            self._count("pylae_session_refreshes_total", "failed")
        elif after.renewals > before.renewals:
            self._count("pylae_session_refreshes_total", "refreshed")

    async def found(self, session_id: str) -> Found | None:
        """Returns a session that has not ended. Raises StoreError."""
        found = await asyncio.to_thread(self._records.read, session_id)
        if found is None:
            return None
        now = time.time()
        if found.session.is_idle(now, self._idle):
            # No node takes its cookie any more without a look at the store, so none needs to be told.
            await asyncio.to_thread(self._records.forget, found.session)
            self._count("pylae_sessions_ended_total", "idle")
            return None
        return found if now < found.session.ends else None

    async def _noted(self, found: Found) -> Found | None:
        """Notes that a session is used, every now and then."""
        now = time.time()
        if now < found.session.seen + session_of.step(self._idle):
            return found
        if not await asyncio.to_thread(self._records.extend, found.session):
            return None
        noted = session_of.used(found.session, now)
        revision = await asyncio.to_thread(self._records.write, noted, found.revision)
        if revision is not None:
            return Found(noted, revision)
        # Another node has noted it, or has ended it.
        return await asyncio.to_thread(self._records.read, noted.id)

    async def end(self, session: Session, by: str) -> None:
        """Ends a session on all nodes: here at once, elsewhere once they learn of it. Raises StoreError."""
        await asyncio.to_thread(self.end_now, session, by)

    def end_now(self, session: Session, by: str) -> None:
        """The same for a thread that may wait for the store."""
        self._surroundings.ended.refuse(session.id, session.ends)
        self._records.end(session, time.time())
        self._count("pylae_sessions_ended_total", by)

    def idles_out(self, check: int, now: float) -> bool:
        """Whether a session, by its cookie alone, has not been used for too long: it was to be looked up at `check`."""
        return now > check + self._idle

    def _count(self, name: str, label: str) -> None:
        self._surroundings.figures.count(name, self._settings.name, label)
