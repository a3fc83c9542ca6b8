"""The end of sessions: by the user, and by the provider (OpenID Connect RP-Initiated and Back-Channel Logout 1.0)."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

from pylae.identity.login.failures import IdentityError, ProviderError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pylae.config.models.authenticators.oidc import Oidc
    from pylae.identity.login.provider import Provider
    from pylae.identity.login.records import Records
    from pylae.identity.login.session import Session
    from pylae.identity.login.sessions import Sessions

log = logging.getLogger("pylae.auth")

EVENT = "http://schemas.openid.net/event/backchannel-logout"
"""What a logout token says has happened (Back-Channel Logout, section 2.4)."""
_TYPES = ("logout+jwt", "jwt")
_MOST_TEXT = 1024
_REVOKING = 64
"""Revocations of refresh tokens under way at most."""


class Logout:
    """Ends the sessions of one authenticator. It is used on the loop of the hooks alone."""

    def __init__(self, settings: Oidc, provider: Provider, records: Records, sessions: Sessions) -> None:
        self._settings, self._provider, self._records, self._sessions = settings, provider, records, sessions
        self._revoking: set[asyncio.Task[None]] = set()

    async def leave(self, session: Session) -> None:
        """Ends a session because its user wants it, and its refresh token too. Raises StoreError."""
        await self._sessions.end(session, "logout")
        if session.refresh is not None and len(self._revoking) < _REVOKING:
            self._run(self._revoke(session.refresh))

    def _run(self, revocation: Coroutine[Any, Any, None]) -> None:
        """Lets it go on without the request that it belongs to."""
        task = asyncio.create_task(revocation)
        self._revoking.add(task)
        task.add_done_callback(self._revoking.discard)

    async def _revoke(self, token: str) -> None:
        """Ends a refresh token at the provider (RFC 7009). What fails is logged: the session has ended anyway."""
        try:
            url = (await self._provider.metadata()).revocation
            if url is None:
                return
            sent = [("token", token), ("token_type_hint", "refresh_token")]
            reply = await self._provider.form("revocation_failed", url, sent)
            if reply.status != 200:
                raise ProviderError("revocation_failed", f"status {reply.status}")
        except ProviderError as error:
            self._sessions.has_failed(error)

    async def farewell(self, origin: str, session: Session | None) -> str:
        """Returns where a browser goes once its session has ended: to the provider, which sends it back."""
        home = self._settings.logout_url
        if session is None:
            return home
        try:
            end = (await self._provider.metadata()).end_session
        except ProviderError as error:
            self._sessions.has_failed(error)
            return home
        if end is None:
            return home
        sent = {
            "client_id": self._settings.client_id,
            "post_logout_redirect_uri": f"{origin}{self._settings.path}/logout",
        }
        if session.hint is not None:
            sent["id_token_hint"] = session.hint
        return f"{end}{'&' if urlsplit(end).query else '?'}{urlencode(sent)}"

    async def told(self, body: bytes) -> None:
        """Ends what the logout token in a form of the provider names. Raises IdentityError and StoreError."""
        claims = await self._logout_claims(_token_in(body))
        token_id = claims["jti"]
        if await asyncio.to_thread(self._records.has_told, token_id):
            raise IdentityError("logout_token_replayed")
        await asyncio.to_thread(self._end_named, claims.get("sid"), claims.get("sub"))
        # Last, so that the provider may tell it again if the store goes away meanwhile.
        life = claims["exp"] + self._settings.leeway.total_seconds() - time.time()
        await asyncio.to_thread(self._records.tell, token_id, life)

    async def _logout_claims(self, token: str) -> dict[str, Any]:
        """Verifies a logout token (Back-Channel Logout, section 2.6)."""
        header, claims = await self._provider.claims(token, logout=True)
        kind = header.get("typ", "jwt")
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
            raise IdentityError("logout_token_type")
        events = claims["events"]
        if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
            raise IdentityError("logout_token_event")
        if "nonce" in claims:
            raise IdentityError("logout_token_nonce")
        if claims["iat"] > time.time() + self._settings.leeway.total_seconds():
            raise IdentityError("logout_token_issued_in_future")
        for name in ("sid", "sub", "jti"):
            value = claims.get(name)
            if value is not None and (not isinstance(value, str) or not 0 < len(value) <= _MOST_TEXT):
                raise IdentityError("logout_token_subject" if name != "jti" else "logout_token_invalid")
        return claims

    def _end_named(self, sid: str | None, subject: str | None) -> None:
        """Ends the sessions that a logout token names, however many there are."""
        named = self._records.of_subject(subject or "") if sid is None else self._records.of_sid(sid)
        for session in named:
            if subject is None or session.subject == subject:
                self._sessions.end_now(session, "provider")


def _token_in(body: bytes) -> str:
    pairs = parse_qsl(body.decode("ascii", "replace"), keep_blank_values=True)
    tokens = [value for name, value in pairs if name == "logout_token"]
    if len(tokens) != 1:
        raise IdentityError("logout_token_missing")
    return tokens[0]


class Fields(Protocol):
    """The fields of a request."""

    def get(self, name: str, /) -> str | None:
        """Returns a field by its name, in whatever case."""


def is_of_same_site(method: str, fields: Fields, origin: str) -> bool:
    """Whether a browser sends a request because of a page of this origin, or of its user (Fetch Metadata).

    Without `Sec-Fetch-Site`, only an unsafe method with an `Origin` counts.
    """
    site = fields.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    return method == "POST" and fields.get("origin") == origin
