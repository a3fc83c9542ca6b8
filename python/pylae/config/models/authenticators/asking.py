"""What the kinds have in common that ask another server about a credential."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from pylae.config.document.nodes import Finding
from pylae.config.models.address import is_this_machine
from pylae.config.models.authenticators.function import AuthenticatorOptions
from pylae.config.models.authenticators.own import OwnAuthenticator
from pylae.config.models.base import refusal
from pylae.config.models.tls import PemFile
from pylae.units import Duration

_MARGIN = timedelta(seconds=5)
"""Time in which an authenticator says that the server has not answered in time."""


def server_url(text: str) -> str:
    """Checks that a text is the URL of a server that can be asked."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise refusal("is not a valid URL", 'write it like "https://login.example.org/introspect"') from None
    if "@" in parts.netloc:
        raise refusal("must be an address without user name and password", secret=True)
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise refusal("must be an http:// or https:// address", 'write it like "https://login.example.org/introspect"')
    if parts.fragment or not text.isascii() or any(c <= " " or c == "\x7f" for c in text):
        raise refusal("must be ASCII without spaces, and without `#`")
    return text


ServerUrl = Annotated[str, AfterValidator(server_url)]
"""URL of a server that is asked: `http://` or `https://`, without user name."""


def is_plain(url: str) -> bool:
    """Returns true if others on the network can read and change what is sent to a URL."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_this_machine(parts.hostname or "")


class AskingAuthenticator(OwnAuthenticator):
    """Base class of the kinds that ask a server."""

    timeout: Duration = timedelta(seconds=5)
    """Longest wait for an answer of the server. After that, the request gets 503."""
    ca: PemFile | None = None
    """PEM file with the authorities to trust for `https://`; those of the system by default."""

    @property
    def options(self) -> AuthenticatorOptions:
        return AuthenticatorOptions(timeout=self.timeout + _MARGIN, waits=True, budget=None)

    @property
    def servers(self) -> Iterator[tuple[str, str]]:
        """The URLs of its servers, by the names of their settings."""
        raise NotImplementedError

    def weaknesses(self) -> Iterator[Finding]:
        for setting, url in self.servers:
            if is_plain(url):
                text = "anyone on the network can read credentials that are sent over http://, and forge the answers"
                yield Finding((setting,), text, "use https://, or a network that nobody else is in")
