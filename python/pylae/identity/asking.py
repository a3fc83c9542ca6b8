"""What the authenticators have in common that ask another server about a credential."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

from pylae.config.models.authenticators.asking import AskingAuthenticator
from pylae.identity.client import ServiceClient
from pylae.identity.outage import Outage
from pylae.identity.surroundings import Surroundings

S = TypeVar("S", bound=AskingAuthenticator)


class Asking(Generic[S]):
    """An authenticator that asks a server."""

    def __init__(self, settings: S, name: str) -> None:
        self._settings, self._name = settings, name
        self._ca: Path | None = None
        self._patience = settings.timeout.total_seconds()
        self._outage = Outage(name, self._patience)
        self._clients: dict[str, ServiceClient] = {}

    def attach(self, surroundings: Surroundings) -> None:
        """Gives it the gateway that it runs in, before it is asked. May be called again."""
        self._ca = surroundings.configuration / self._settings.ca if self._settings.ca else None

    def _client(self, url: str) -> ServiceClient:
        found = self._clients.get(url)
        if found is None:
            found = self._clients[url] = ServiceClient(url, self._ca)
        return found
