"""ID tokens of a login and of a refresh, beyond what the verifier of tokens checks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pylae.identity.login.failures import IdentityError, ProviderError
from pylae.identity.login.provider import MOST_TOKEN, Provider, document_of, parts_of

if TYPE_CHECKING:
    from pylae.registry.client import Reply

LIFE = 3600.0
"""Seconds that an access token is taken to be good for if its provider does not say it."""
_LONGEST_LIFE = 400 * 24 * 3600.0
_MOST_TEXT = 1024


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What a token endpoint has given (RFC 6749, section 5.1). `life` is in seconds."""

    access: str
    life: float
    refresh: str | None
    identity: str | None


def token_answer(reply: Reply) -> TokenAnswer:
    """Reads the answer of a token endpoint that has the status 200. Raises ProviderError."""
    document = document_of(reply, "token_response_invalid")

    def text(name: str) -> str | None:
        value = document.get(name)
        if value is None:
            return None
        if (
            not isinstance(value, str)
            or not 0 < len(value) <= MOST_TOKEN
            or not value.isascii()
            or not value.isprintable()
        ):
            raise ProviderError("token_response_invalid", f"`{name}` is no token")
        return value

    access, kind = text("access_token"), document.get("token_type")
    if access is None or not isinstance(kind, str) or kind.lower() != "bearer":
        raise ProviderError("token_response_invalid", "there is no bearer token")
    life = document.get("expires_in")
    if isinstance(life, str) and life.isascii() and life.isdigit() and len(life) < 12:
        # Some providers have it as a text.
        life = int(life)
    if life is not None and (isinstance(life, bool) or not isinstance(life, int | float) or not life >= 0):
        raise ProviderError("token_response_invalid", "`expires_in` is no number")
    return TokenAnswer(
        access, LIFE if life is None else min(float(life), _LONGEST_LIFE), text("refresh_token"), text("id_token")
    )


async def id_claims(
    provider: Provider, client_id: str, answer: TokenAnswer, *, nonce: str | None, leeway: float
) -> dict[str, Any]:
    """Verifies the ID token of an answer, and returns its claims (OpenID Connect Core, section 3.1.3.7).

    With `nonce` None it is that of a refresh, which may be without one (section 12.2). Raises IdentityError.
    """
    if answer.identity is None:
        raise IdentityError("id_token_missing")
    header, claims = await provider.claims(answer.identity)
    if is_of_other_kind(header):
        # Tokens for something else may have the same issuer and audience (RFC 8725, section 3.11).
        raise IdentityError("id_token_type")
    audience, authorized = claims["aud"], claims.get("azp")
    several = isinstance(audience, list) and len(audience) > 1
    if (authorized is not None or several) and authorized != client_id:
        raise IdentityError("azp_mismatch")
    if claims["iat"] > time.time() + leeway:
        raise IdentityError("issued_in_future")
    if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= _MOST_TEXT:
        raise IdentityError("id_token_subject")
    if nonce is not None:
        _check_nonce(claims, nonce)
    if (hashed := claims.get("at_hash")) is not None:
        expected = _half_hash(str(header.get("alg")), answer.access)
        if not isinstance(hashed, str) or not hmac.compare_digest(hashed.encode(), expected):
            raise IdentityError("at_hash_mismatch")
    return claims


def claims_of(token: str) -> dict[str, Any]:
    """Returns the claims of an ID token that was verified before."""
    return parts_of(token)[1]


def is_of_other_kind(header: Mapping[str, Any]) -> bool:
    """Whether a token says that it is for something else than an ID token or a logout token (`at+jwt`, for example)."""
    kind = header.get("typ")
    return kind is not None and (not isinstance(kind, str) or kind.lower().removeprefix("application/") != "jwt")


def _check_nonce(claims: Mapping[str, Any], nonce: str) -> None:
    found = claims.get("nonce")
    if found is None:
        raise IdentityError("nonce_missing")
    if not isinstance(found, str) or not hmac.compare_digest(found.encode(), nonce.encode()):
        raise IdentityError("nonce_mismatch")


def _half_hash(algorithm: str, token: str) -> bytes:
    """As `at_hash` has it (OpenID Connect Core, section 3.1.3.6). Ed25519 has the hash of its signatures, SHA-512."""
    name = {"256": "sha256", "384": "sha384"}.get(algorithm[-3:], "sha512")
    digest = hashlib.new(name, token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")


async def userinfo_claims(provider: Provider, access: str, subject: str) -> dict[str, Any]:
    """Asks the userinfo endpoint (OpenID Connect Core, section 5.3). Raises ProviderError and IdentityError."""
    url = (await provider.metadata()).userinfo
    if url is None:
        raise ProviderError("userinfo_failed", "the provider has no userinfo endpoint")
    claims = document_of(await provider.bearer("userinfo_failed", url, access), "userinfo_failed")
    if claims.get("sub") != subject:
        # Of another user (section 5.3.2).
        raise IdentityError("userinfo_subject")
    return claims
