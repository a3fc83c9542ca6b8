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
from typing import Annotated, Any

from pydantic import BeforeValidator, SecretStr, ValidationError

from pylae import state
from pylae.config.auth import AuthConfig, Jwt
from pylae.config.check import problems_of
from pylae.config.model import Config
from pylae.config.sources import Below, CallSources, calling, shown
from pylae.errors import ConfigError, Problem
from pylae.settings import Settings, refusal, split_words
from pylae.units import parse_duration

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


def _id(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise refusal("must be a text or a whole number")
    if value == "":
        raise refusal("must not be empty")
    return str(value)


def _permissions(value: Any) -> Any:
    words = split_words(value)
    if value is not None and not isinstance(words, list | tuple | set | frozenset):
        raise refusal("must be texts", 'write them like ["orders:write"]')
    return words if words is None else list(words)


class _UserFields(Settings):
    """The fields of `User` as callers may write them."""

    id: Annotated[str, BeforeValidator(_id)]
    role: str | None = None
    email: str | None = None
    permissions: Annotated[tuple[str, ...] | None, BeforeValidator(_permissions)] = None


def issue_token(
    user: User | Mapping[str, Any] | str | int,
    *,
    config: Config | None = None,
    ttl: timedelta | float | str = TOKEN_LIFE,
) -> str:
    """A JSON Web Token for `user` (its id alone, or the fields of `User`), good for `ttl`.

    Ids may be numbers, and permissions one text (`A|B`); `ttl` is a number of seconds or a text such as "15m". It is
    signed with the secret of `config`, or else the one that a gateway without `auth` uses: that of the environment
    variable PYLAE_JWT_SECRET or JWT_SECRET, or the generated one. Raises ConfigError if there is no secret to sign
    with, as with public keys, or if an argument is none of these; it names the field and the place of the call.
    """
    try:
        span = parse_duration(ttl)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise _wrong("ttl", message, hint) from None
    return _signed(_claims(_user(user), jwt := _signer(_config(config)), span), jwt)


def _config(given: object) -> Config | None:
    if given is None or isinstance(given, Config):
        return given
    hint = "`gateway.config` is one" if hasattr(given, "config") else None
    raise _wrong("config", f"must be a Config; found {shown(given, hidden=False)}", hint)


def _wrong(path: str, message: str, hint: str | None = None) -> ConfigError:
    return ConfigError([Problem(*calling(), None, path, message, hint or None)])


def _user(given: object) -> User:
    """Whom a token is for, whichever way it is said. Raises ConfigError with the place of the call."""
    names = _UserFields.model_fields
    if isinstance(given, Mapping):
        fields = given
    elif all(hasattr(given, name) for name in names):
        # What hooks have as `request.user` is one too.
        fields = {name: getattr(given, name) for name in names}
    elif isinstance(given, str | int) and not isinstance(given, bool):
        fields = {"id": given}
    else:
        hint = 'an id, or a mapping such as {"id": "7", "role": "admin"}'
        raise _wrong("user", f"must be a user; found {shown(given, hidden=False)}", hint)
    try:
        made = _UserFields.model_validate(fields)
    except ValidationError as error:
        raise ConfigError(problems_of(error, Below(CallSources({(): calling()}), ("user",)), _UserFields)) from None
    return User(made.id, made.role or "", made.email or "", made.permissions or ())


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
