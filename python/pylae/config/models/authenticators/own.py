"""Kinds of authenticators whose decisions need Python of Pylae's own."""

from __future__ import annotations

from pylae.config.models.authenticators.function import AuthenticatorOptions
from pylae.config.models.authenticators.kind import AuthenticatorKind


class OwnAuthenticator(AuthenticatorKind):
    """Base class of kinds that `pylae.identity` implements: it is called as a function of a program is."""

    @property
    def options(self) -> AuthenticatorOptions:
        """How it is called: what it sees, what is remembered, which paths are its own."""
        raise NotImplementedError
