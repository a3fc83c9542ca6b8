"""The table of the kinds of authenticators that this package implements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pylae.config.models.authenticators import forward_auth, introspection, oidc
from pylae.config.models.authenticators.own import OwnAuthenticator
from pylae.identity.forward_auth import ForwardAuth
from pylae.identity.introspection import Introspection
from pylae.identity.oidc import Oidc
from pylae.identity.surroundings import Surroundings


class Implementation(Protocol):
    """An authenticator that is ready to be asked. It serves all workers."""

    def authenticate(self, request: Any) -> Any:
        """Says who sends a request, as a function of a program does. It may be async."""

    def attach(self, surroundings: Surroundings) -> None:
        """Gives it the gateway that it runs in, before it is asked. May be called again."""


KINDS: Mapping[type[OwnAuthenticator], Callable[[Any, str], Implementation]] = {
    forward_auth.ForwardAuth: ForwardAuth,
    introspection.Introspection: Introspection,
    oidc.Oidc: Oidc,
}
"""What makes an authenticator of settings and the name by which routes choose it."""


def made(settings: OwnAuthenticator, name: str) -> Implementation:
    """Returns the authenticator with these settings."""
    return KINDS[type(settings)](settings, name)
