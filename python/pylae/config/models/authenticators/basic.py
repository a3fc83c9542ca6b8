"""User names and passwords."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from pydantic import AfterValidator, Field, SecretStr, model_validator

from pylae.config.models.authenticators.kind import AuthenticatorKind, Identity, Words, by_name
from pylae.config.models.base import Settings, refusal
from pylae.units import Wait

if TYPE_CHECKING:
    from pylae.settings.fields import AccountFields, BasicFields

_PASSWORD_HASH = re.compile(r"\$(argon2id|2[aby])\$[!-~]+")


def _password_hash(value: SecretStr) -> SecretStr:
    if not _PASSWORD_HASH.fullmatch(value.get_secret_value()):
        raise refusal("is neither an Argon2id nor a bcrypt hash", "as `argon2` or `htpasswd -B` make them", secret=True)
    return value


class Account(Settings):
    """A user with a password. A hash is short for `password_hash`."""

    short = {"type": "string"}

    password_hash: Annotated[SecretStr, AfterValidator(_password_hash)]
    """Hash of the password: Argon2id (`$argon2id$…`) or bcrypt (`$2b$…`)."""
    email: Identity | Literal[""] = ""
    """E-mail address."""
    role: Identity | Literal[""] = ""
    """Role."""
    permissions: Words = ()
    """Permissions of the user."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AccountFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"password_hash": value} if isinstance(value, str | SecretStr) else value


def _user_name(text: str) -> str:
    if ":" in text:
        raise refusal("a user name has no colon (RFC 7617)")
    return text


class Basic(AuthenticatorKind):
    """User names and passwords (HTTP Basic, RFC 7617). Use it over TLS only, because both are sent unencrypted."""

    users: Annotated[dict[Annotated[Identity, AfterValidator(_user_name)], Account], Field(min_length=1)]
    """Users by name. The name is the user's id."""
    remember: Wait = timedelta(minutes=1)
    """How long a verified password is remembered, because verifying one is slow on purpose."""
    forward_credentials: bool = False
    """Send name and password to instances, on all routes."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[BasicFields]) -> None: ...

    def plan(self) -> dict[str, Any]:
        users = [
            by_name(
                name,
                {
                    **account.model_dump(mode="json", exclude={"password_hash"}),
                    "password_hash": account.password_hash.get_secret_value(),
                },
            )
            for name, account in self.users.items()
        ]
        return {"kind": "basic", "users": users, **self.model_dump(mode="json", exclude={"users"})}
