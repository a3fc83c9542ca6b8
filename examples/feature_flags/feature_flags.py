"""Asks a feature-flag service what a user may see, and tells the service behind the gateway."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import OrderedDict
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, HttpUrl

from pylae import Plugin, Request, UnavailableError
from pylae.hooks import on_request
from pylae.primitives import CircuitBreaker

_MOST = 10_000
"""Users whose flags are remembered."""


class Settings(BaseModel):
    """What a configuration says about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: HttpUrl
    """The flag service; `GET <url>/<user>` gives a JSON list of names."""
    ttl: float = 30.0
    """Seconds for which an answer is remembered."""
    header: str = "X-Features"
    """The field that carries the flags."""


class FeatureFlags(Plugin):
    """Sets the field. Without an answer in time the request goes on with the flags that were known last, or none."""

    Settings = Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._breaker = CircuitBreaker(failure_threshold=3, timeout="10s")
        self._known: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._tls = ssl.create_default_context()

    @on_request(timeout="2s", on_error="skip")
    async def tell(self, request: Request) -> None:
        """Sets the field for a user; nobody else has flags, whatever a client says."""
        request.headers[self.settings.header] = await self._flags(request.user.id) if request.user else ""

    async def _flags(self, user: str) -> str:
        at, flags = self._known.get(user, (0.0, ""))
        if at and time.monotonic() - at < self.settings.ttl:
            return flags
        try:
            with self._breaker.attempt():
                # The timeout is shorter than the hook's, so that what is known can still be used.
                flags = await asyncio.wait_for(self._ask(user), 1)
        except (UnavailableError, httpx.HTTPError, TimeoutError, ValueError):
            return flags
        self._known[user] = (time.monotonic(), flags)
        self._known.move_to_end(user)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return flags

    async def _ask(self, user: str) -> str:
        # A client for each question, because nobody would close one that is kept; what is expensive about it is kept.
        async with httpx.AsyncClient(base_url=str(self.settings.url), verify=self._tls) as client:
            response = await client.get(quote(user, safe=""))
        response.raise_for_status()
        return ",".join(sorted(map(str, response.json())))
