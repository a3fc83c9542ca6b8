"""Kinds of authenticators whose decisions need Python of Pylae's own."""

from __future__ import annotations

from typing import ClassVar

from pylae.config.models.authenticators.function import AuthenticatorOptions
from pylae.config.models.authenticators.kind import AuthenticatorKind


class OwnAuthenticator(AuthenticatorKind):
    """Base class of kinds that `pylae.identity` implements: it is called as a function of a program is."""

    code: ClassVar[str | None] = None
    """Field that may name a function, if there is one."""

    @property
    def options(self) -> AuthenticatorOptions:
        """How it is called: what it sees, what is remembered, which paths are its own."""
        raise NotImplementedError
