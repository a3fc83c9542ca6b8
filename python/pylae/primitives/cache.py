"""An HTTP cache (RFC 9111) for code that makes requests itself."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast

from pylae.engine import NativeCache, NativeLookup, purge_document
from pylae.policies import cache
from pylae.primitives.given import Clock, Fields, compiling, now, pairs, settings_of
from pylae.units import DurationLike, SizeLike, parse_duration, parse_size

if TYPE_CHECKING:
    from pylae.settings.fields import CacheFields

__all__ = ["Cache", "CacheLookup", "CacheResponse"]

Outcome = Literal["hit", "stale", "revalidated", "miss", "bypass"]


@dataclass(frozen=True, slots=True)
class CacheResponse:
    """The response for the client."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Fields in order, with `Age` and `Cache-Status`, and without those that frame the body or belong to a
    connection."""
    body: bytes


class Cache:
    """Stores responses to GET and HEAD where HTTP allows it, revalidates stale ones, and removes them when their URL
    changes.

    `size` is in bytes or a text such as "64MB", at least 1 MB. The other keywords are the settings of the policy
    `cache`: `ttl`, `override`, `vary`, `stale_while_revalidate`, `stale_if_error`, `tags`, …; `wait` has no effect,
    because no lookup waits for another. `clock` returns nanoseconds since the Unix epoch, because fields such as
    `Expires` contain dates. Raises ConfigError for wrong settings, ValueError for a wrong size.

        lookup = cache.lookup("GET", "http://api.example/items", request.headers)
        response = lookup.response
        if response is None:
            answer = client.get("http://api.example/items", headers=lookup.headers)
            response = lookup.answered(answer.status_code, answer.headers.items(), answer.content)

    `get` and `set` also store plain values by key.
    """

    def __init__(
        self, size: SizeLike = "64MB", *, clock: Clock = time.time_ns, **settings: Unpack[CacheFields]
    ) -> None:
        held = parse_size(size)
        if held < 2**20:
            raise ValueError("the size of a cache must be at least 1 MB")
        rules = settings_of(cache.Cache, {**settings, "wait": 0})
        with compiling():
            self._native = NativeCache(held, rules.model_dump_json())
        self._clock = clock

    def lookup(self, method: str, url: str, headers: Fields = (), *, user: str | None = None) -> CacheLookup:
        """Looks for a stored response, and says what to request if there is none.

        `url` is absolute, or a path if `headers` contains a Host. Responses for a `user` are only for that user, unless
        `per_user` is off. Raises ValueError for an invalid request.
        """
        native = self._native.lookup(now(self._clock), method, url, pairs(headers), user)
        return CacheLookup(native, self._clock)

    async def get(self, key: str) -> Any:
        """Returns a copy of the value for a key; None if there is none or it has expired. It never waits."""
        response = self.lookup("GET", _url_of_key(key)).response
        return None if response is None else json.loads(response.body)

    async def set(self, key: str, value: Any, ttl: DurationLike = 300) -> None:
        """Stores a value for `ttl`: anything that has a JSON form, up to `max_entry` (1 MB). A larger value is not
        stored.

        `ttl` is in seconds, or a text such as "5m"; below one second, nothing is stored. Keys and URLs are separate.
        Raises TypeError for a value without a JSON form, and ValueError for an invalid `ttl`.
        """
        body = json.dumps(value).encode()
        seconds = int(parse_duration(ttl).total_seconds())
        fields = {"Cache-Control": f"max-age={seconds}, must-revalidate", "Content-Type": "application/json"}
        # Without this field, the cache would answer with the existing value.
        lookup = self.lookup("GET", _url_of_key(key), {"Cache-Control": "no-cache"})
        lookup.answered(200, fields, body if seconds > 0 else b"null")

    def invalidate(self, url: str) -> None:
        """Invalidates the stored responses for a URL with any query, as an unsafe request does (RFC 9111 section
        4.4).
        """
        self._native.invalidate(now(self._clock), url, [])

    def purge(self, *, url: str | None = None, prefix: str | None = None, tag: str | None = None) -> int:
        """Removes the selected responses, or all. Returns their number. See `Gateway.purge_cache`."""
        with compiling():
            return self._native.purge(now(self._clock), purge_document(url, prefix, None, tag))

    @property
    def bytes(self) -> int:
        """Memory in use, in bytes."""
        return self._native.usage()[0]

    def __len__(self) -> int:
        """Number of keys. A key may have several responses, if they have `Vary`."""
        return self._native.usage()[1]


def _url_of_key(key: str) -> str:
    """Returns the URL under which a value is stored: at a host that cannot exist (RFC 2606)."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"http://keys.invalid/{digest}"


class CacheLookup:
    """A request to the cache."""

    def __init__(self, native: NativeLookup, clock: Clock) -> None:
        self._native, self._clock = native, clock

    @property
    def response(self) -> CacheResponse | None:
        """The stored response, if it can be used. Also 504, for a client that accepts only a stored response
        (`only-if-cached`).
        """
        if self._native.refused:
            return CacheResponse(504, (), b"")
        return _response(self._native.reply(), b"")

    @property
    def outcome(self) -> Outcome:
        """How the cache serves the request: `hit`, `stale`, `revalidated`, `miss`, or `bypass` if a cache cannot serve
        it. A `miss` may become `revalidated` or `stale`, depending on the response of the service.
        """
        return cast("Outcome", self._native.outcome())

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The fields to send to the service, without Host: those of the request, and conditions that may save a
        transfer.
        """
        return self._native.headers()

    def answered(self, status: int, headers: Fields, body: bytes = b"") -> CacheResponse:
        """Records the complete response of the service. Returns the response for the client: the same one, or the
        stored one if it is still valid.

        Raises ValueError for an invalid response, or for a 304 that was not asked for.
        """
        reply = self._native.answered(now(self._clock), status, pairs(headers), body)
        return cast("CacheResponse", _response(reply, body))

    def failed(self) -> CacheResponse | None:
        """Reports that the service did not respond. Returns the stored response, if it may be used although it is stale
        (`stale_if_error`).
        """
        return _response(self._native.failed(now(self._clock)), b"")

    def refresh(self) -> CacheLookup | None:
        """Returns the request to send in the background after a stale response (`stale_while_revalidate`). Only one of
        the clients that got the stale response gets it, and only once; the others get None.
        """
        native = self._native.refresh(now(self._clock))
        return native and CacheLookup(native, self._clock)


def _response(reply: tuple[int, list[tuple[str, str]], bytes | None] | None, body: bytes) -> CacheResponse | None:
    if reply is None:
        return None
    status, headers, part = reply
    return CacheResponse(status, tuple(headers), body if part is None else part)
