"""The authenticator of a plugin, for `everything.yaml`."""

from __future__ import annotations

from pydantic import BaseModel

from pylae.hooks import Authenticator, Request, User
from pylae.settings import AuthenticatorOptions


class Badge(Authenticator):
    class Settings(BaseModel):
        floor: int = 1

    options = AuthenticatorOptions(key="header:X-Badge", cache="1m", challenge="Badge", timeout="1s", paths="/badge")

    def authenticate(self, request: Request) -> User:
        return User(request.headers["x-badge"])
