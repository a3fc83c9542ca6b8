"""Who a user is by the claims of the provider: by the names in the settings, or by a function of the configuration."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pylae.engine import User
from pylae.identity.claims import made_user, user_of
from pylae.identity.failures import AnswerError
from pylae.identity.login.failures import IdentityError, ProviderError
from pylae.identity.login.session import Member
from pylae.identity.login.tokens import userinfo_claims

if TYPE_CHECKING:
    from pylae.config.models.authenticators.jwt import ClaimNames
    from pylae.config.models.authenticators.oidc import Oidc
    from pylae.identity.login.provider import Provider

log = logging.getLogger("pylae.auth")

OF_TOKENS: Final = frozenset(("at_hash", "aud", "azp", "c_hash", "exp", "iat", "jti", "nbf", "nonce", "s_hash", "sid"))
"""Claims about the token that had them, and not about the user."""
_MOST_CLAIMS = 32 * 1024
"""Bytes of all claims."""


class Members:
    """Makes users of claims."""

    def __init__(self, settings: Oidc, provider: Provider) -> None:
        self._settings, self._provider = settings, provider

    async def of(self, claims: Mapping[str, Any], access: str) -> Member:
        """Returns who a user is by the claims of a verified ID token, and of the userinfo endpoint if it is asked.

        Raises IdentityError if that is nobody who has access, and ProviderError if it cannot be told now.
        """
        known = {name: value for name, value in claims.items() if name not in OF_TOKENS}
        if self._settings.userinfo:
            # What the ID token says is signed, and goes before.
            known = {**await userinfo_claims(self._provider, access, claims["sub"]), **known}
        member = mapped(known, self._settings.claims) if self._settings.user is None else await self._asked(known)
        if len(json.dumps(member.claims)) > _MOST_CLAIMS:
            raise IdentityError("session_too_large", "too many claims", 500)
        return member

    async def _asked(self, claims: dict[str, Any]) -> Member:
        function = self._settings.user
        try:
            if inspect.iscoroutinefunction(function):
                found = await function(claims)
            else:
                found = await asyncio.to_thread(function, claims)
        except Exception:
            log.exception("`user` of the authenticator %s has failed", self._settings.name)
            raise ProviderError("user_failed", status=500) from None
        if found is None:
            raise IdentityError("no_access", status=403)
        if not isinstance(found, User):
            raise ProviderError("user_failed", f"it has returned {type(found).__name__}, not a User or None", 500)
        try:
            # Whether instances can be told of the user unchanged.
            roles = found.role.split(",")
            return _member(made_user(found.id, found.email, roles, found.permissions, found.claims))
        except AnswerError as error:
            raise IdentityError("user_invalid", str(error), 403) from None


def mapped(claims: Mapping[str, Any], names: ClaimNames) -> Member:
    """Returns the user by the claims with these names, as the authenticator `jwt` does. Raises IdentityError."""
    try:
        return _member(user_of(claims, names))
    except AnswerError as error:
        raise IdentityError("user_invalid", str(error), 403) from None


def _member(user: User) -> Member:
    return Member(user.id, user.email, user.role, tuple(user.permissions), user.claims)
