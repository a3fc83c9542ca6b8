"""What issuers say of themselves (RFC 8414, OpenID Connect Discovery 1.0), and the keys that they sign with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from pylae.config.models.authenticators.asking import is_plain, server_url
from pylae.identity.claims import parsed
from pylae.identity.client import ServiceClient
from pylae.identity.failures import AnswerError
from pylae.identity.flights import Flights

_MOST_BYTES = 1024 * 1024
_FRESH = 600.0
"""Seconds for which what an issuer has said is used."""


class Issuer:
    """An issuer. What it says is asked for when it is needed, and used for a while."""

    def __init__(self, url: str, client: Callable[[str], ServiceClient], patience: float) -> None:
        """`client` gives the client for a URL; `patience` is in seconds."""
        self.url = url
        self._client, self._patience = client, patience
        self._flights: Flights[str, dict[str, Any]] = Flights()
        self._said: dict[str, tuple[float, dict[str, Any]]] = {}

    async def endpoint(self, name: str) -> str:
        """Returns a URL that the issuer says, such as `introspection_endpoint`. Raises ApiError and AnswerError."""
        document = await self._document()
        url = document.get(name)
        if not isinstance(url, str):
            raise AnswerError(f"the discovery document has no `{name}`")
        try:
            server_url(url)
        except ValueError:
            raise AnswerError(f"`{name}` of the discovery document is no URL that can be asked") from None
        if is_plain(url) and not is_plain(self.url):
            raise AnswerError(f"`{name}` of the discovery document is not safe: it begins with http://")
        return url

    async def keys(self, *, newer: bool = False) -> dict[str, Any]:
        """Returns the key set of the issuer; with `newer`, one that is fetched now. Raises ApiError and AnswerError."""
        return await self._fetched(await self.endpoint("jwks_uri"), 0.0 if newer else _FRESH)

    async def _document(self) -> Mapping[str, Any]:
        base = self.url.rstrip("/")
        try:
            document = await self._fetched(f"{base}/.well-known/openid-configuration", _FRESH)
        except AnswerError:
            parts = urlsplit(base)
            where = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path}"
            document = await self._fetched(where, _FRESH)
        # Another issuer's document would have its endpoints trusted (RFC 8414, section 3.3).
        if document.get("issuer") != self.url:
            raise AnswerError("the discovery document is of another issuer")
        return document

    async def _fetched(self, url: str, fresh: float) -> dict[str, Any]:
        known = self._said.get(url)
        if known is not None and time.monotonic() - known[0] < fresh:
            return known[1]
        return await self._flights.run(url, lambda: self._fetch(url))

    async def _fetch(self, url: str) -> dict[str, Any]:
        fields = [("Accept", "application/json")]
        reply = await self._client(url).call("GET", fields, patience=self._patience, most=_MOST_BYTES)
        if reply.status != 200:
            raise AnswerError(f"{url} answers with status {reply.status}")
        found = parsed(reply.body)
        self._said[url] = time.monotonic(), found
        return found
