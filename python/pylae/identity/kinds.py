"""The table of the kinds of authenticators that this package implements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from pylae.config.models.authenticators import forward_auth, introspection, oidc
from pylae.config.models.authenticators.own import OwnAuthenticator

if TYPE_CHECKING:
    from pylae.identity.surroundings import Surroundings


class Implementation(Protocol):
    """An authenticator that is ready to be asked. It serves all workers."""

    def authenticate(self, request: Any) -> Any:
        """Says who sends a request, as a function of a program does. It may be async."""

    def attach(self, surroundings: Surroundings) -> None:
        """Gives it the gateway that it runs in, before it is asked. May be called again."""


def _forward_auth(settings: forward_auth.ForwardAuth, name: str) -> Implementation:
    # Only a gateway that uses a kind imports what it needs.
    from pylae.identity.forward_auth import ForwardAuth

    return ForwardAuth(settings, name)


def _introspection(settings: introspection.Introspection, name: str) -> Implementation:
    from pylae.identity.introspection import Introspection

    return Introspection(settings, name)


def _oidc(settings: oidc.Oidc, name: str) -> Implementation:
    from pylae.identity.oidc import Oidc

    return Oidc(settings, name)


KINDS: Mapping[type[OwnAuthenticator], Callable[[Any, str], Implementation]] = {
    forward_auth.ForwardAuth: _forward_auth,
    introspection.Introspection: _introspection,
    oidc.Oidc: _oidc,
}
"""What makes an authenticator of settings and the name by which routes choose it."""


def made(settings: OwnAuthenticator, name: str) -> Implementation:
    """Returns the authenticator with these settings."""
    return KINDS[type(settings)](settings, name)
