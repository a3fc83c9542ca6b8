"""The base classes of sources that ask an HTTP API: address, TLS, timeouts and retries."""

from __future__ import annotations

import random
from abc import abstractmethod
from datetime import timedelta
from typing import Annotated, ClassVar, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, model_validator

from pylae.config.models.base import refusal
from pylae.config.models.tls import PemFile
from pylae.registry.client import ApiClient, ApiError
from pylae.registry.source import Source, SourceContext, SourceSettings
from pylae.units import Duration

_PORTS = {"http": 80, "https": 443}


def _api_address(text: str) -> str:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        path = f"/{path.lstrip('/')}" if path.startswith("//") else path
        if not path.startswith("/") or "\0" in path or len(path) > 100:
            raise refusal("is not the path of a socket", 'write it like "unix:/var/run/docker.sock"')
        return f"unix:{path}"
    try:
        # What Docker calls tcp is HTTP.
        url = urlsplit(f"http:{text.removeprefix('tcp:')}" if text.startswith("tcp:") else text)
        port = url.port
    except ValueError:
        raise refusal("is not a valid URL", 'write it like "http://127.0.0.1:8500"') from None
    if "@" in url.netloc:
        raise refusal("the address of an API has no user or password", secret=True)
    if url.scheme not in _PORTS or not url.hostname or not text.isascii() or any(c <= " " for c in text):
        raise refusal("is not the address of an API", 'write it like "http://127.0.0.1:8500" or "unix:/path"')
    if url.path not in ("", "/") or url.query or url.fragment:
        raise refusal("the address of an API has no path or query")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"{url.scheme}://{host}:{port or _PORTS[url.scheme]}"


ApiAddress = Annotated[str, AfterValidator(_api_address)]
"""Where an API is: `http://host:port`, `https://host:port` or `unix:/path`."""


class ApiSettings(SourceSettings):
    """The settings of an HTTP API."""

    files = ("ca", "cert", "key")
    private: ClassVar[tuple[str, ...]] = ("ca", "timeout", "retry", "max_retry")

    address: ApiAddress
    """Where the API is."""
    ca: PemFile | None = None
    """Authorities to trust if the address is `https`; those of the system by default."""
    cert: PemFile | None = None
    """The gateway's own certificate and the intermediate ones, for an API that asks for a certificate."""
    key: PemFile | None = None
    """The key of `cert`."""
    timeout: Duration = timedelta(seconds=5)
    """Longest wait for an answer that needs no change to happen."""
    retry: Duration = timedelta(seconds=1)
    """Time until the next try after a failure. It doubles with each further failure. The instances stay."""
    max_retry: Duration = timedelta(seconds=30)
    """Longest time between two tries."""

    @model_validator(mode="after")
    def _fits(self) -> ApiSettings:
        if (self.cert is None) != (self.key is None):
            raise refusal("`cert` and `key` belong together")
        if (self.ca or self.cert) and not self.address.startswith("https:"):
            raise refusal("`ca`, `cert` and `key` are for an `address` that begins with https://")
        return self


A = TypeVar("A", bound=ApiSettings)


class ApiSource(Source[A]):
    """Asks an API, and retries ever more slowly while that fails."""

    def __init__(self, settings: A, context: SourceContext) -> None:
        super().__init__(settings, context)
        files = (context.folder / file if file else None for file in (settings.ca, settings.cert, settings.key))
        self.client = ApiClient(settings.address, *files)
        self.patience = settings.timeout.total_seconds()
        self._failures = 0

    async def look(self, now: float) -> bool:
        """As `Source.look`."""
        try:
            changed = await self.ask(now)
        except ApiError as error:
            self.close()
            retry, longest = self.settings.retry.total_seconds(), self.settings.max_retry.total_seconds()
            # Gateways that lost the API together must not retry together.
            self.due = now + min(retry * 2 ** min(self._failures, 20), longest) * random.uniform(0.5, 1)  # noqa: S311
            self._failures += 1
            return self.failed(str(error))
        self._failures = 0
        return changed

    @abstractmethod
    async def ask(self, now: float) -> bool:
        """As `look`; raises ApiError."""
