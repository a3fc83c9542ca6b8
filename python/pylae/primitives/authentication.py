"""Authentication by token, as the gateway's authenticator `jwt` does it, for code that needs it elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import SecretStr

from pylae.auth import TOKEN_LIFE, default_auth, token_of
from pylae.config.models.authenticators.jwt import Jwt
from pylae.engine import NativeTokenVerifier
from pylae.primitives.given import Clock, compiling, now, settings_of
from pylae.units import DurationLike

__all__ = ["AuthenticationService"]


class AuthenticationService:
    """Makes and verifies tokens that are signed with a secret (HS256).

    A gateway with `auth: {jwt: {secret: …}}` and the same secret accepts these tokens, and the other way round. Tokens
    that a gateway has revoked are still valid here. Raises ConfigError for an empty secret.

    Args:
        secret_key: The secret. By default the secret of a gateway without `auth`: the environment variable
            PYLAE_JWT_SECRET or JWT_SECRET, or the generated one. If there is none yet, the first use generates it.
        admin_role: The role that has every permission; empty for none.
    """

    def __init__(
        self, secret_key: str | None = None, *, admin_role: str = "admin", clock: Clock = time.time_ns
    ) -> None:
        self._given = None if secret_key is None else settings_of(Jwt, {"secret": SecretStr(secret_key)})
        self._admin_role, self._clock = admin_role, clock

    @cached_property
    def _jwt(self) -> Jwt:
        # Only at the first use, so that reading a program generates nothing.
        return self._given or default_auth(create=True).jwt[0]

    @cached_property
    def _native(self) -> NativeTokenVerifier:
        with compiling():
            return NativeTokenVerifier(json.dumps(self._jwt.plan()))

    async def authenticate(self, request: Mapping[str, Any] | Any) -> dict[str, Any]:
        """Verifies the token of a request in `Authorization: Bearer`.

        Returns `{"success": True, "user": {"id", "email", "role", "permissions"}}`, or `{"success": False, "error": …}`
        with a message that clients may see. `request` is that of a hook, or a dict with `headers`. It never waits.
        """
        return self.verified(request)

    def verified(self, request: Mapping[str, Any] | Any) -> dict[str, Any]:
        """The same as `authenticate`, for code that is not async."""
        scheme, _, token = _authorization(request.get("headers", {})).partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return {"success": False, "error": "there is no bearer token"}
        found, why = self._native.verify(token.strip(), now(self._clock))
        if found is None:
            return {"success": False, "error": why}
        user_id, email, role, permissions = found
        user = {"id": user_id, "email": email, "role": role or "user", "permissions": permissions}
        return {"success": True, "user": user}

    def check_permission(self, user: Mapping[str, Any] | Any, required_permission: str) -> bool:
        """Returns true if a user has a permission. The user is a result of `authenticate`, or `request.user` of a hook.

        Users with the role `admin_role` have every permission, as in the gateway.
        """
        roles = str(user.get("role", "")).split(",")
        return bool(self._admin_role and self._admin_role in roles) or required_permission in user.get(
            "permissions", ()
        )

    def generate_token(self, user_data: Mapping[str, Any], ttl: DurationLike = TOKEN_LIFE) -> str:
        """Makes a token for a user: a mapping with `id`, and optionally `email`, `role` and `permissions`.

        The token is valid for `ttl`, by default one hour. Its claims are `sub` and `user_id` (the same), `email`,
        `role`, `permissions`, `iat`, `exp` and `jti`. Raises ConfigError for an invalid user, and ValueError for an
        invalid `ttl`.
        """
        known = {name: user_data[name] for name in ("id", "email", "role", "permissions") if name in user_data}
        return token_of(known, self._jwt, ttl, now(self._clock) / 1e9)


def _authorization(headers: Any) -> str:
    """Returns the value of the field, in whatever case a dict has its name."""
    for name in ("Authorization", "authorization"):
        if value := headers.get(name):
            return str(value)
    return str(next((value for name, value in headers.items() if name.lower() == "authorization"), ""))
