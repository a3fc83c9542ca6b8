"""Asks the issuer of a token about it (RFC 7662), in signed answers too (RFC 9701). The data plane remembers them."""

from __future__ import annotations

import base64
import binascii
import json
import time
from typing import Any
from urllib.parse import quote_plus, urlencode

from pylae.config.models.authenticators.introspection import Introspection as Settings
from pylae.config.models.authenticators.jwt import ClaimNames, Jwt
from pylae.engine import Known, NativeTokenVerifier, Request, User
from pylae.errors import HTTPError
from pylae.identity.asking import Asking
from pylae.identity.claims import date_of, parsed, text_of, texts_of, user_of
from pylae.identity.client import ServiceClient
from pylae.identity.discovery import Issuer
from pylae.identity.failures import AWAY, AnswerError, AwayError
from pylae.identity.flights import Flights
from pylae.registry.client import ApiError, Reply

_MOST_BYTES = 64 * 1024
_SIGNED = "application/token-introspection+jwt"
_TEXTS = ("iss", "sub", "jti", "client_id", "username", "token_type", "scope")
"""Members that are texts (RFC 7662, section 2.2)."""
_UNKNOWN_KEY = "the token was signed with a key that is not known"
_MISMATCH = "the token's signature does not match"
Answer = User | Known | None


class Introspection(Asking[Settings]):
    """An authenticator that asks one issuer."""

    def __init__(self, settings: Settings, name: str) -> None:
        super().__init__(settings, name)
        self._flights: Flights[str, Answer | HTTPError] = Flights()
        self._issuer = Issuer(settings.issuer, self._client, self._patience) if settings.issuer else None

    async def authenticate(self, request: Request) -> Answer:
        """Says whose token a request has; None if it is not active. Raises HTTPError (503) if that cannot be told."""
        token = request.headers["authorization"].partition(" ")[2]
        if len(token) > self._settings.max_size or self._is_of_another(token):
            return None
        answer = await self._flights.run(token, lambda: self._ask(token))
        if isinstance(answer, HTTPError):
            raise HTTPError(answer.status, answer.detail, answer.headers)
        return answer

    def _is_of_another(self, token: str) -> bool:
        """Whether a token says itself that another issuer has made it. It does not concern this one then."""
        if self._settings.issuer is None or token.count(".") != 2:
            return False
        try:
            issuer = parsed(_decoded(token.split(".")[1])).get("iss")
        except AnswerError:
            return False
        return isinstance(issuer, str) and issuer != self._settings.issuer

    async def _ask(self, token: str) -> Answer | HTTPError:
        try:
            self._outage.admit()
        except HTTPError as away:
            return away
        try:
            answer = self._judged(await self._said(token))
        except (ApiError, AnswerError) as error:
            return self._outage.failed(error)
        self._outage.succeeded()
        return answer

    async def _said(self, token: str) -> dict[str, Any]:
        """Returns the issuer's answer. Raises ApiError and AnswerError."""
        settings = self._settings
        url = settings.endpoint
        if url is None and self._issuer is not None:
            url = await self._issuer.endpoint("introspection_endpoint")
        form = {"token": token, "token_type_hint": "access_token"}
        fields = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Accept", _SIGNED if settings.jwt else "application/json"),
        ]
        secret = settings.client_secret.get_secret_value() if settings.client_secret else None
        if secret is not None and settings.client_auth == "basic":
            # Encoded before they are joined (RFC 6749, section 2.3.1).
            both = f"{quote_plus(settings.client_id)}:{quote_plus(secret)}"
            fields.append(("Authorization", f"Basic {base64.b64encode(both.encode()).decode()}"))
        else:
            form["client_id"] = settings.client_id
            if secret is not None:
                form["client_secret"] = secret
        client: ServiceClient = self._client(url or "")
        body = urlencode(form).encode()
        reply = await client.call("POST", fields, body, patience=self._patience, most=_MOST_BYTES)
        return await self._opened(reply)

    async def _opened(self, reply: Reply) -> dict[str, Any]:
        if reply.status in AWAY:
            raise AwayError(f"status {reply.status}")
        if reply.status in (400, 401, 403):
            raise AnswerError(f"status {reply.status}: it refuses `client_id` and `client_secret`")
        if reply.status != 200:
            raise AnswerError(f"status {reply.status}")
        kind = (reply.fields.get("content-type") or "").partition(";")[0].strip().lower()
        if kind != (_SIGNED if self._settings.jwt else "application/json"):
            # What is not signed would pass for what is (RFC 9701, section 8.1).
            raise AnswerError(f"it is not of the type {_SIGNED if self._settings.jwt else 'application/json'}")
        return await self._verified(reply.body) if self._settings.jwt else parsed(reply.body)

    async def _verified(self, body: bytes) -> dict[str, Any]:
        """Returns the answer inside a signed one (RFC 9701, section 5). Raises ApiError and AnswerError."""
        issuer = self._issuer
        if issuer is None:
            raise AnswerError("nobody's keys verify it")
        try:
            token = body.decode("ascii")
        except UnicodeError:
            raise AnswerError("it is not a JSON Web Token") from None
        why = self._mistake(token, await issuer.keys())
        if why in (_UNKNOWN_KEY, _MISMATCH):
            # The issuer may sign with another key by now. If it lies, it is left alone for a while like all that fail.
            why = self._mistake(token, await issuer.keys(newer=True))
        if why:
            raise AnswerError(why)
        head, payload = (parsed(_decoded(part)) for part in token.split(".")[:2])
        if str(head.get("typ")).lower().removeprefix("application/") != "token-introspection+jwt":
            # A token of another kind, sent for an answer.
            raise AnswerError("it is a token of another type")
        leeway = self._settings.leeway.total_seconds()
        issued = date_of(payload, "iat")
        if issued is None or issued > time.time() + leeway:
            raise AnswerError("it was issued in the future")
        inner = payload.get("token_introspection")
        if not isinstance(inner, dict):
            raise AnswerError("it has no `token_introspection`")
        return inner

    def _mistake(self, token: str, keys: dict[str, Any]) -> str:
        settings = self._settings
        verifier = Jwt(
            jwks=json.dumps(keys),
            issuer=(settings.issuer or "",),
            audience=(settings.client_id,),
            required_claims=("iss", "aud", "iat", "token_introspection"),
            leeway=settings.leeway,
            max_size=_MOST_BYTES,
            claims=ClaimNames(id=("iss",)),
        )
        try:
            _, why = NativeTokenVerifier(json.dumps(verifier.plan())).verify(token, time.time_ns())
        except ValueError:
            raise AnswerError("the issuer's keys cannot be used") from None
        return why

    def _judged(self, said: dict[str, Any]) -> Answer:
        """Returns whose token it is. Raises AnswerError for an answer that is none."""
        settings, now = self._settings, time.time()
        active = said.get("active")
        if not isinstance(active, bool):
            raise AnswerError("`active` is neither true nor false")
        for name in _TEXTS:
            text_of(said, name)
        expires, start = date_of(said, "exp"), date_of(said, "nbf")
        date_of(said, "iat")
        audiences = texts_of(said, "aud")
        leeway = settings.leeway.total_seconds()
        if not active or (expires is not None and now >= expires + leeway) or (start or 0.0) > now + leeway:
            return None
        if settings.issuer is not None and said.get("iss") not in (None, settings.issuer):
            return None
        if settings.audience and not set(settings.audience) & set(audiences):
            return None
        user = user_of(said, settings.claims)
        # One that has expired by this clock, but within `leeway`, is asked about each time.
        return user if expires is None else Known(user, max(0.0, expires))


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise AnswerError("it is not a JSON Web Token") from None
