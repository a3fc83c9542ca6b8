"""The login: a request for authorization, and what comes back (OpenID Connect Core, section 3.1; RFC 9700)."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pylae.errors import StoreError
from pylae.identity.login import attempt as attempts
from pylae.identity.login import session as session_of
from pylae.identity.login.attempt import Attempt
from pylae.identity.login.failures import IdentityError, ProviderError
from pylae.identity.login.provider import document_of
from pylae.identity.login.refresh import due, error_of, hint
from pylae.identity.login.session import Session
from pylae.identity.login.tokens import TokenAnswer, id_claims, token_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pylae.config.models.authenticators.oidc import Oidc
    from pylae.engine import NativeSealer
    from pylae.identity.login.members import Members
    from pylae.identity.login.provider import Metadata, Provider
    from pylae.identity.login.records import Records

log = logging.getLogger("pylae.auth")

MOST_QUERY = 8 * 1024
"""Characters of a query with what a provider sends."""
_NO_PAR = 600.0
"""Seconds for which a provider that refuses pushed requests to this client is not sent any."""
_ERROR = re.compile(r"[a-z_]{1,40}")
_STATUS = {"access_denied": 403, "server_error": 503, "temporarily_unavailable": 503}


class Flow:
    """Logs users in at one provider. It is used on the loop of the hooks alone."""

    def __init__(
        self, settings: Oidc, sealer: NativeSealer, provider: Provider, records: Records, members: Members
    ) -> None:
        self._settings, self._sealer, self._provider = settings, sealer, provider
        self._records, self._members = records, members
        self._used = attempts.Used()
        self._par_refused = -_NO_PAR

    async def begin(self, origin: str, return_to: str) -> tuple[Attempt, str]:
        """Begins an attempt for a browser that reaches the gateway at `origin`. Returns it, and where the browser goes.

        Raises ProviderError.
        """
        metadata = await self._provider.metadata()
        attempt = attempts.begin(return_to, self._settings.issuer, time.time())
        asked = {
            **self._settings.extra,
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self.redirect_uri(origin),
            "scope": " ".join(self._settings.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        if self._settings.prompt:
            asked["prompt"] = self._settings.prompt
        asked = await self._pushed(metadata, asked)
        joint = "&" if urlsplit(metadata.authorization).query else "?"
        return attempt, f"{metadata.authorization}{joint}{urlencode(asked)}"

    def redirect_uri(self, origin: str) -> str:
        """Where the provider sends browsers back to."""
        return f"{origin}{self._settings.path}/callback"

    async def _pushed(self, metadata: Metadata, asked: dict[str, str]) -> dict[str, str]:
        """Pushes a request if the provider takes that (RFC 9126). Returns the parameters that the browser brings."""
        soon = time.monotonic() < self._par_refused + _NO_PAR and not metadata.requires_par
        if metadata.par is None or soon:
            return asked
        reply = await self._provider.form("par_failed", metadata.par, list(asked.items()))
        if reply.status in (200, 201):
            document = document_of(reply, "par_failed")
            request = document.get("request_uri")
            if not isinstance(request, str) or not 0 < len(request) <= 2048:
                raise ProviderError("par_failed", "there is no `request_uri`")
            return {"client_id": asked["client_id"], "request_uri": request}
        if metadata.requires_par:
            raise ProviderError("par_failed", f"{reply.status}, {error_of(reply)}")
        self._par_refused = time.monotonic()
        log.warning(
            "%s: the provider refuses pushed requests (%d, %s); requests go in URLs",
            self._settings.name, reply.status, error_of(reply),
        )  # fmt: skip
        return asked

    def attempt(self, query: str, cookies: Mapping[str, str], session_cookie: str) -> tuple[Attempt, dict[str, str]]:
        """Returns the attempt that a callback ends, and the parameters of the callback. The attempt counts no more.

        Raises IdentityError.
        """
        sent = parameters(query)
        state = sent.get("state")
        if not state:
            raise IdentityError("state_missing")
        value = cookies.get(attempts.cookie_name(session_cookie, state))
        if value is None:
            raise IdentityError("attempt_missing")
        found = attempts.opened(value, self._sealer, self._settings.name)
        if found is None:
            raise IdentityError("attempt_invalid")
        if not hmac.compare_digest(found.state.encode(), state.encode()):
            raise IdentityError("state_mismatch")
        now = time.time()
        if now >= found.begun + attempts.LIFE:
            raise IdentityError("attempt_expired")
        if found.issuer != self._settings.issuer:
            raise IdentityError("issuer_changed")
        self._used.use(found, now)
        return found, sent

    async def finish(self, origin: str, attempt: Attempt, sent: Mapping[str, str]) -> Session:
        """Ends an attempt with a new session. Raises IdentityError."""
        await self._check_issuer(sent)
        if (error := sent.get("error")) is not None:
            raise _refused(error)
        code = sent.get("code")
        if not code:
            raise IdentityError("code_missing")
        answer = await self._exchanged(origin, attempt, code)
        leeway = self._settings.leeway.total_seconds()
        client_id = self._settings.client_id
        claims = await id_claims(self._provider, client_id, answer, nonce=attempt.nonce, leeway=leeway)
        return await self._begun(answer, claims)

    async def _check_issuer(self, sent: Mapping[str, str]) -> None:
        """Checks that the answer is of the provider that was asked (RFC 9207, section 2.4)."""
        issuer = sent.get("iss")
        if issuer is None:
            if (await self._provider.metadata()).names_issuer:
                raise IdentityError("iss_missing")
        elif issuer != self._settings.issuer:
            raise IdentityError("iss_mismatch")

    async def _exchanged(self, origin: str, attempt: Attempt, code: str) -> TokenAnswer:
        sent = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri(origin)),
            ("code_verifier", attempt.verifier),
        ]
        url = (await self._provider.metadata()).token
        reply = await self._provider.form("token_failed", url, sent)
        if reply.status == 200:
            return token_answer(reply)
        error = error_of(reply)
        if error == "invalid_grant":
            raise IdentityError("code_refused")
        raise IdentityError("client_refused", f"{reply.status}, {error}", 502)

    async def _begun(self, answer: TokenAnswer, claims: Mapping[str, Any]) -> Session:
        member = await self._members.of(claims, answer.access)
        now = int(time.time())
        settings = self._settings
        lifetime = settings.lifetime.total_seconds()
        sid = claims.get("sid")
        try:
            lease = await asyncio.to_thread(self._records.lease, lifetime, settings.idle.total_seconds())
            session = Session(
                id=session_of.new_id(),
                member=member,
                issuer=settings.issuer,
                subject=claims["sub"],
                sid=sid if isinstance(sid, str) and sid else None,
                begun=now,
                ends=now + int(lifetime),
                seen=now,
                refresh=answer.refresh,
                due=due(answer, settings.refresh_ahead.total_seconds(), now),
                renewals=0,
                hint=hint(answer.identity),
                lease=lease,
            )
            await asyncio.to_thread(self._records.begin, session)
        except StoreError as error:
            raise IdentityError("store_unavailable", str(error), 503) from None
        return session


def parameters(query: str) -> dict[str, str]:
    """Returns the parameters of a callback. Raises IdentityError if one is there twice (RFC 6749, section 3.1)."""
    if len(query) > MOST_QUERY:
        raise IdentityError("parameters_too_long")
    pairs = parse_qsl(query, keep_blank_values=True)
    found = dict(pairs)
    if len(found) != len(pairs):
        raise IdentityError("parameter_repeated")
    return found


def _refused(error: str) -> IdentityError:
    """What an error of the provider means (RFC 6749, section 4.1.2.1). Anybody can write it into a URL."""
    detail = error if _ERROR.fullmatch(error) else "?"
    status = _STATUS.get(error, 400)
    if error == "access_denied":
        return IdentityError("access_denied", status=status)
    if status == 503:
        return IdentityError("provider_unavailable", detail, status)
    return IdentityError("provider_error", detail, status)
