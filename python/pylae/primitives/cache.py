"""Cache: an HTTP cache after RFC 9111 for code that makes requests itself."""

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
    """What the client gets."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Fields in order, with `Age` and `Cache-Status`, without those that frame the body or belong to a connection."""
    body: bytes


class Cache:
    """Keeps answers to GET and HEAD where HTTP allows it, validates them when they are stale, and forgets them when
    something at their address changes.

    `size` is bytes or a text such as "64MB"; at least 1 MB. The other keywords are those of the `cache` policy: `ttl`,
    `override`, `vary`, `stale_while_revalidate`, `stale_if_error`, `tags`, …; `wait` has no meaning here, every lookup
    stands for itself. `clock` gives nanoseconds since the Unix epoch, because fields such as `Expires` are dates.
    Raises ConfigError for settings that are wrong, ValueError for a wrong size.

        lookup = cache.lookup("GET", "http://api.example/items", request.headers)
        response = lookup.response
        if response is None:
            answer = client.get("http://api.example/items", headers=lookup.headers)
            response = lookup.answered(answer.status_code, answer.headers.items(), answer.content)

    `get` and `set` keep plain values by keys beside that.
    """

    def __init__(
        self, size: SizeLike = "64MB", *, clock: Clock = time.time_ns, **settings: Unpack[CacheFields]
    ) -> None:
        held = parse_size(size)
        if held < 2**20:
            raise ValueError("a cache has at least 1 MB")
        rules = settings_of(cache.Cache, {**settings, "wait": 0})
        with compiling():
            self._native = NativeCache(held, rules.model_dump_json())
        self._clock = clock

    def lookup(self, method: str, url: str, headers: Fields = (), *, user: str | None = None) -> CacheLookup:
        """Whether a stored answer does, and otherwise what to ask.

        `url` is absolute, or a path if `headers` has a Host. Answers to a `user` are for nobody else unless `per_user`
        is off. Raises ValueError if that is no request.
        """
        native = self._native.lookup(now(self._clock), method, url, pairs(headers), user)
        return CacheLookup(native, self._clock)

    async def get(self, key: str) -> Any:
        """The value that was set for a key, as a copy; None if there is none, or its time is over. It never waits."""
        response = self.lookup("GET", _url_of_key(key)).response
        return None if response is None else json.loads(response.body)

    async def set(self, key: str, value: Any, ttl: DurationLike = 300) -> None:
        """Keeps a value for `ttl`: what JSON can say, at most `max_entry` of it (1 MB); a larger one is not kept.

        `ttl` is in seconds, or a text such as "5m"; less than a second keeps nothing. Keys and URLs do not meet. Raises
        TypeError for what is no JSON, ValueError for what is no span.
        """
        body = json.dumps(value).encode()
        seconds = int(parse_duration(ttl).total_seconds())
        fields = {"Cache-Control": f"max-age={seconds}, must-revalidate", "Content-Type": "application/json"}
        # What is there already would answer, were it not for this field.
        lookup = self.lookup("GET", _url_of_key(key), {"Cache-Control": "no-cache"})
        lookup.answered(200, fields, body if seconds > 0 else b"null")

    def invalidate(self, url: str) -> None:
        """Makes invalid what is stored for a URL, whatever its query, as an unsafe request does (RFC 9111, 4.4)."""
        self._native.invalidate(now(self._clock), url, [])

    def purge(self, *, url: str | None = None, prefix: str | None = None, tag: str | None = None) -> int:
        """Forgets what one of these names, or everything; how many answers that were. See `Gateway.purge_cache`."""
        with compiling():
            return self._native.purge(now(self._clock), purge_document(url, prefix, None, tag))

    @property
    def bytes(self) -> int:
        """Memory in use, in bytes."""
        return self._native.usage()[0]

    def __len__(self) -> int:
        """Keys held; one may hold several answers, by what `Vary` names."""
        return self._native.usage()[1]


def _url_of_key(key: str) -> str:
    """Where a value stands among the answers: at a host that nothing has (RFC 2606)."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"http://keys.invalid/{digest}"


class CacheLookup:
    """One request at a cache."""

    def __init__(self, native: NativeLookup, clock: Clock) -> None:
        self._native, self._clock = native, clock

    @property
    def response(self) -> CacheResponse | None:
        """What is stored, if that does. Also 504 for a client that wants nothing but that (`only-if-cached`)."""
        if self._native.refused:
            return CacheResponse(504, (), b"")
        return _response(self._native.reply(), b"")

    @property
    def outcome(self) -> Outcome:
        """How the cache serves the request: `hit`, `stale`, `revalidated`, `miss`, or `bypass` for what no cache
        answers. A miss may become `revalidated` or `stale` by what the service says."""
        return cast("Outcome", self._native.outcome())

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The fields with which to ask, without Host: those of the request, and conditions that save a transfer."""
        return self._native.headers()

    def answered(self, status: int, headers: Fields, body: bytes = b"") -> CacheResponse:
        """Takes in the complete answer and gives what the client gets: the same, or what is stored if it still holds.

        Raises ValueError if that is no answer, or a 304 that was not asked for.
        """
        reply = self._native.answered(now(self._clock), status, pairs(headers), body)
        return cast("CacheResponse", _response(reply, body))

    def failed(self) -> CacheResponse | None:
        """There was no answer: what is stored, if it may be given although it is stale (`stale_if_error`)."""
        return _response(self._native.failed(now(self._clock)), b"")

    def refresh(self) -> CacheLookup | None:
        """What must be asked behind the client's back after a stale answer (`stale_while_revalidate`). Once, and by
        one of those who got it: for everybody else None."""
        native = self._native.refresh(now(self._clock))
        return native and CacheLookup(native, self._clock)


def _response(reply: tuple[int, list[tuple[str, str]], bytes | None] | None, body: bytes) -> CacheResponse | None:
    if reply is None:
        return None
    status, headers, part = reply
    return CacheResponse(status, tuple(headers), body if part is None else part)
