"""Tokens for users, and the secret that signs them if none is configured."""

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
from pylae.config.checks.explain import problems_of
from pylae.config.document.sources import Below, CallSources, calling, shown
from pylae.config.models.auth import AuthConfig
from pylae.config.models.authenticators.jwt import Jwt
from pylae.config.models.base import Settings, refusal, split_words
from pylae.config.models.config import Config, has_authenticator, requires_users
from pylae.errors import ConfigError, Problem
from pylae.units import DurationLike, parse_duration

__all__ = ["User", "issue_token"]

log = logging.getLogger("pylae.auth")

VARIABLES = ("PYLAE_JWT_SECRET", "JWT_SECRET")
"""Environment variables for the secret of a gateway without `auth`, in order of precedence."""
FILE = "jwt-secret"
"""Path of the generated secret in the user's state directory."""
TOKEN_LIFE = timedelta(hours=1)
"""Default lifetime of a token."""
_WHAT = "the secret that signs tokens"
_DIGESTS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}


@dataclass(frozen=True, slots=True)
class User:
    """The user of a token."""

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
    """Returns a JSON Web Token for `user` (an id, or the fields of `User`), valid for `ttl`.

    Ids may be numbers, and permissions one text (`A|B`). `ttl` is a number of seconds or a text such as "15m".

    The token is signed with the secret of `config`, or else with that of a gateway without `auth`: the environment
    variable PYLAE_JWT_SECRET or JWT_SECRET, or the generated secret, which this call generates if no gateway has been
    started yet.

    Raises ConfigError if there is no secret to sign with (as with public keys), if no gateway would know it (no route
    requires a user, or it cannot be stored), and for a wrong argument, with its field and the place of the call.
    """
    try:
        span = parse_duration(ttl)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise _wrong("ttl", message, hint) from None
    return _signed(_claims(_user(user), jwt := _signer(_config(config)), span), jwt)


def sign_claims(claims: Mapping[str, Any], config: Config, ttl: timedelta = TOKEN_LIFE) -> str:
    """Returns a token with just these claims, and with `exp`, `iss` and `aud` unless they are among them.

    Raises ConfigError if there is no secret to sign with.
    """
    jwt = _signer(config)
    added: dict[str, Any] = {"exp": int(time.time()) + int(ttl.total_seconds())}
    added |= {name: accepted[0] for name, accepted in (("iss", jwt.issuer), ("aud", jwt.audience)) if accepted}
    return _signed({**added, **claims}, jwt)


def token_of(user: Mapping[str, Any], jwt: Jwt, ttl: DurationLike, now: float) -> str:
    """Returns a token with the user's id as `sub` and as `user_id`, for programs that do not know `sub`.

    `now` is in seconds since the Unix epoch. Raises ConfigError, and ValueError for an invalid `ttl`.
    """
    made = _user(user)
    return _signed({**_claims(made, jwt, parse_duration(ttl), now), "user_id": made.id}, jwt)


def _config(given: object) -> Config | None:
    if given is None or isinstance(given, Config):
        return given
    hint = "`gateway.config` is one" if hasattr(given, "config") else None
    raise _wrong("config", f"must be a Config; found {shown(given, hidden=False)}", hint)


def _wrong(path: str, message: str, hint: str | None = None) -> ConfigError:
    return ConfigError([Problem(*calling(), None, path, message, hint or None)])


def _user(given: object) -> User:
    """Returns the user of a token, in whichever form it is given. Raises ConfigError with the place of the call."""
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
    """Returns the authenticator whose secret signs tokens."""
    if config is None:
        return _auth(_lasting_secret()).jwt[0]
    if config.auth is not None and has_authenticator(config):
        for jwt in config.auth.jwt:
            if jwt.secret:
                return jwt
        message = "there is no `auth.jwt.secret`, so no token can be signed"
        raise ConfigError(
            [
                Problem(
                    None,
                    None,
                    None,
                    "auth",
                    message,
                    "sign tokens with the private key of the configured public key",
                )
            ]
        )
    if not requires_users(config):
        message = "no token can be signed: no route requires a user, so the gateway has no secret"
        hint = "add `auth: {jwt: {secret: …}}`, and leave out `auth_required: false`"
        raise ConfigError([Problem(None, None, None, "auth", message, hint)])
    return _auth(_lasting_secret()).jwt[0]


def _claims(user: User, jwt: Jwt, ttl: timedelta, at: float | None = None) -> dict[str, Any]:
    now = int(time.time() if at is None else at)
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
    """Returns the compact serialization (RFC 7515 section 7.1)."""
    algorithm = jwt.algorithms[0] if jwt.algorithms else "HS256"
    parts = ({"alg": algorithm, "typ": "JWT"}, claims)
    message = b".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    secret = jwt.secret[0].get_secret_value() if jwt.secret else ""
    signature = hmac.digest(secret.encode(), message, _DIGESTS[algorithm])
    return (message + b"." + _base64url(signature)).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def default_auth(*, create: bool) -> AuthConfig:
    """Returns the authenticators of a program whose routes require users but that configures none: signed tokens.

    The secret comes from the environment, or is generated at the first start and stored in a file that only its owner
    can read. Without `create` nothing is written, and if there is no file yet, the secret is temporary. Raises
    ConfigError if other users can read the file.
    """
    secret = _known_secret()
    if secret is None and create:
        try:
            secret = _generated_secret()
        except OSError as error:
            log.warning(
                "generated a secret for this run only, because it cannot be stored in %s (%s); set %s to your own",
                secret_file(), error.strerror, VARIABLES[0],
            )  # fmt: skip
    return _auth(secret or secrets.token_urlsafe(48))


def _known_secret() -> str | None:
    """Returns the secret of the environment, or the generated one. Raises ConfigError if other users can read the
    file.
    """
    given = next((value for name in VARIABLES if (value := os.environ.get(name))), None)
    return given or state.kept_secret(secret_file(), _WHAT)


def _generated_secret() -> str:
    """Generates and stores a secret. Raises OSError if it cannot be stored."""
    return state.keep_secret(secret_file(), secrets.token_urlsafe(48), _WHAT)


def _lasting_secret() -> str:
    """Returns the secret that a gateway started later will use too. Raises ConfigError if there cannot be one."""
    try:
        return _known_secret() or _generated_secret()
    except OSError as error:
        message = f"the secret that signs tokens cannot be stored ({error.strerror}), so no gateway would know it"
        hint = f"set {VARIABLES[0]} to your own secret, also for the gateway"
        raise ConfigError([Problem(str(secret_file()), None, None, "", message, hint)]) from None


def _auth(secret: str) -> AuthConfig:
    return AuthConfig(jwt=(Jwt(secret=(SecretStr(secret),)),))


def secret_file() -> Path:
    """Returns the file of the generated secret, in the user's state directory (XDG Base Directory Specification)."""
    return state.home() / FILE
