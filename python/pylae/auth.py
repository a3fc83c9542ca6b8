"""Tokens for users, and the secret that signs them where none is configured."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import os
import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from pylae import state
from pylae.config.auth import AuthConfig, Jwt
from pylae.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pylae.config.model import Config

__all__ = ["User", "issue_token"]

log = logging.getLogger("pylae")

VARIABLES = ("PYLAE_JWT_SECRET", "JWT_SECRET")
"""Environment variables that may hold the secret of a gateway that configures none, the first first."""
TOKEN_LIFE = timedelta(hours=1)
"""How long a token is good unless said otherwise."""
_WHAT = "the secret that signs tokens"
_DIGESTS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}


@dataclass(frozen=True, slots=True)
class User:
    """Whom a token is for."""

    id: str
    role: str = ""
    email: str = ""
    permissions: Sequence[str] = field(default=())


def issue_token(
    user: User | Mapping[str, Any] | str, *, config: Config | None = None, ttl: timedelta = TOKEN_LIFE
) -> str:
    """A JSON Web Token for `user` (its id alone, or fields of `User`), good for `ttl`.

    It is signed with the secret of `config`, or else the one that a gateway without `auth` uses: that of the
    environment variable PYLAE_JWT_SECRET or JWT_SECRET, or the generated one. Raises ConfigError if there is no secret
    to sign with, as with public keys.
    """
    if isinstance(user, str):
        user = User(user)
    elif isinstance(user, Mapping):
        user = User(**user)
    return _signed(_claims(user, jwt := _signer(config), ttl), jwt)


def _signer(config: Config | None) -> Jwt:
    """The authenticator whose tokens can be minted."""
    if config is None or config.auth is None:
        return default_auth(create=False).jwt[0]
    for jwt in config.auth.jwt:
        if jwt.secret:
            return jwt
    message = "there is no `auth.jwt.secret`, so no token can be signed"
    raise ConfigError([Problem(None, None, None, "auth", message, "whoever has the private key can sign one")])


def _claims(user: User, jwt: Jwt, ttl: timedelta) -> dict[str, Any]:
    now = int(time.time())
    names = jwt.claims
    claims: dict[str, Any] = {"sub" if "sub" in names.id else names.id[0]: str(user.id)}
    for alternatives, value in ((names.email, user.email), (names.role, user.role)):
        if value and alternatives:
            claims[alternatives[0]] = value
    if user.permissions and names.permissions:
        claims[names.permissions[0]] = list(user.permissions)
    for name, accepted in (("iss", jwt.issuer), ("aud", jwt.audience)):
        if accepted:
            claims[name] = accepted[0]
    return {**claims, "iat": now, "exp": now + int(ttl.total_seconds()), "jti": uuid.uuid4().hex}


def _signed(claims: Mapping[str, Any], jwt: Jwt) -> str:
    """The compact serialization of RFC 7515 section 7.1."""
    algorithm = jwt.algorithms[0] if jwt.algorithms else "HS256"
    parts = ({"alg": algorithm, "typ": "JWT"}, claims)
    message = b".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    secret = jwt.secret[0].get_secret_value() if jwt.secret else ""
    signature = hmac.digest(secret.encode(), message, _DIGESTS[algorithm])
    return (message + b"." + _base64url(signature)).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def default_auth(*, create: bool) -> AuthConfig:
    """The authenticators of a program that requires authentication and configures none: tokens signed with a secret.

    The secret is that of the environment, or else one that is generated at the first start and kept in a file that only
    its owner can read. Without `create` nothing is written, and a file that is not there yet gives a passing secret.
    Raises ConfigError if the file is readable by others.
    """
    for name in VARIABLES:
        if value := os.environ.get(name):
            return _auth(value)
    file = secret_file()
    kept = state.kept_secret(file, _WHAT)
    if kept is None and create:
        kept = _keep(file)
    return _auth(kept or secrets.token_urlsafe(48))


def _auth(secret: str) -> AuthConfig:
    return AuthConfig(jwt=(Jwt(secret=(SecretStr(secret),)),))


def secret_file() -> Path:
    """Where the generated secret is kept: in the user's state directory (XDG Base Directory Specification)."""
    return state.home() / "jwt-secret"


def _keep(file: Path) -> str | None:
    """Writes a new secret; none if the directory cannot be written."""
    try:
        return state.keep_secret(file, secrets.token_urlsafe(48), _WHAT)
    except OSError as error:
        log.warning(
            "a secret was made for this run only, because it cannot be kept in %s (%s); set %s to one of your own",
            file, error.strerror, VARIABLES[0],
        )  # fmt: skip
        return None
