"""The authenticator that the page takes for installed."""

from __future__ import annotations

from pydantic import BaseModel, SecretStr

from pylae.hooks import Authenticator, Request, User
from pylae.settings import AuthenticatorOptions


class LdapSettings(BaseModel):
    url: str
    password: SecretStr


class Ldap(Authenticator):
    Settings = LdapSettings
    options = AuthenticatorOptions(key="header:Authorization", challenge="Basic")

    def authenticate(self, request: Request) -> User | None:
        return None
