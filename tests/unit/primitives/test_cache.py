"""The HTTP cache against a model, and what its callers see of RFC 9111."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylae import ConfigError, EngineError
from pylae.primitives import Cache, CacheLookup, CacheResponse

SECOND = 10**9
URL = "http://api.example/items"


class Clock:
    """A clock that shows what it is told."""

    def __init__(self) -> None:
        self.now = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        return self.now

    def pass_by(self, seconds: int) -> None:
        self.now += seconds * SECOND


@pytest.fixture
def clock() -> Clock:
    return Clock()


def field(response: CacheResponse, name: str) -> str | None:
    return next((value for key, value in response.headers if key.lower() == name.lower()), None)


def hit(lookup: CacheLookup) -> CacheResponse:
    assert lookup.response is not None
    return lookup.response


steps = st.lists(
    st.tuples(
        st.integers(0, 15),
        st.sampled_from(["read", "read", "read", "write", "forget"]),
        st.sampled_from(["/a", "/a?page=2", "/b"]),
        st.none() | st.integers(0, 30),
    ),
    max_size=60,
)


@given(steps=steps)
@settings(max_examples=200, deadline=None)
def test_model(steps: list[tuple[int, str, str, int | None]]) -> None:
    clock = Clock()
    cache = Cache(ttl="10s", clock=clock)
    held: dict[str, tuple[bytes, int, int]] = {}
    for number, (pause, what, path, max_age) in enumerate(steps):
        clock.pass_by(pause + 1)
        url = f"http://h{path}"
        if what == "write":
            cache.lookup("POST", url).answered(201, ())
            held = {key: value for key, value in held.items() if key.partition("?")[0] != path.partition("?")[0]}
        elif what == "forget":
            assert cache.purge(url=url) >= int(path in held)
            held.pop(path, None)
        else:
            lookup = cache.lookup("GET", url)
            body, at, lifetime = held.get(path, (b"", 0, 0))
            if clock.now - at < lifetime * SECOND:
                assert (hit(lookup).status, hit(lookup).body, lookup.outcome) == (200, body, "hit")
                assert field(hit(lookup), "Age") == str((clock.now - at) // SECOND)
                continue
            assert (lookup.response, lookup.outcome) == (None, "miss")
            body = str(number).encode()
            control = () if max_age is None else {"Cache-Control": f"max-age={max_age}"}
            assert lookup.answered(200, control, body).body == body
            lifetime = 10 if max_age is None else max_age
            if lifetime:
                held[path] = (body, clock.now, lifetime)
            else:
                held.pop(path, None)


def test_validation_saves_the_transfer(clock: Clock) -> None:
    cache = Cache(ttl="10s", clock=clock)
    first = cache.lookup("GET", URL, {"Accept": "text/plain", "Connection": "close", "Host": "api.example"})
    assert first.headers == [("Accept", "text/plain")]
    first.answered(200, {"ETag": '"a"', "Content-Length": "5", "Connection": "X-Hop", "X-Hop": "1"}, b"hello")
    clock.pass_by(11)
    second = cache.lookup("GET", URL)
    assert (second.response, second.headers) == (None, [("If-None-Match", '"a"')])
    kept = second.answered(304, {"Cache-Control": "max-age=60"})
    assert (kept.status, kept.body, second.outcome) == (200, b"hello", "revalidated")
    assert "X-Hop" not in dict(kept.headers)
    assert "Content-Length" not in dict(kept.headers)
    clock.pass_by(59)
    assert hit(cache.lookup("GET", URL)).body == b"hello"


def test_clients_that_have_it(clock: Clock) -> None:
    cache = Cache(clock=clock)
    asked = cache.lookup("GET", URL, {"If-None-Match": '"a"'})
    told = asked.answered(200, {"ETag": '"a"'}, b"hello")
    assert (told.status, told.body) == (304, b"")
    assert hit(cache.lookup("GET", URL, {"If-None-Match": '"a"'})).status == 304
    part = hit(cache.lookup("GET", URL, {"Range": "bytes=1-3"}))
    assert (part.status, part.body, field(part, "Content-Range")) == (206, b"ell", "bytes 1-3/5")
    assert hit(cache.lookup("HEAD", URL)).body == b""


def test_stale_answers(clock: Clock) -> None:
    cache = Cache(ttl="10s", stale_while_revalidate="5s", stale_if_error="1h", clock=clock)
    cache.lookup("GET", URL).answered(200, {"ETag": '"a"'}, b"old")
    clock.pass_by(12)
    stale = cache.lookup("GET", URL)
    assert (hit(stale).body, stale.outcome) == (b"old", "stale")
    clock.pass_by(10)
    failing = cache.lookup("GET", URL)
    assert failing.response is None
    instead = failing.failed()
    assert instead is not None
    assert (instead.status, instead.body, failing.outcome) == (200, b"old", "stale")
    assert cache.lookup("GET", URL).answered(503, (), b"down").body == b"old"
    assert cache.lookup("GET", "http://api.example/other").failed() is None


def test_refresh_behind_the_back(clock: Clock) -> None:
    cache = Cache(ttl="10s", stale_while_revalidate="5s", clock=clock)
    cache.lookup("GET", URL).answered(200, {"ETag": '"a"'}, b"old")
    clock.pass_by(12)
    stale = cache.lookup("GET", URL)
    refresh = stale.refresh()
    assert refresh is not None
    assert stale.refresh() is None
    assert cache.lookup("GET", URL).refresh() is None
    assert refresh.headers == [("If-None-Match", '"a"')]
    refresh.answered(200, {"ETag": '"b"'}, b"new")
    assert hit(cache.lookup("GET", URL)).body == b"new"


def test_an_abandoned_refresh_falls_to_another(clock: Clock) -> None:
    cache = Cache(ttl="10s", stale_while_revalidate="5s", clock=clock)
    cache.lookup("GET", URL).answered(200, (), b"old")
    clock.pass_by(12)
    refresh = cache.lookup("GET", URL).refresh()
    assert refresh is not None
    del refresh
    assert cache.lookup("GET", URL).refresh() is not None


@pytest.mark.parametrize(
    ("method", "headers", "answer"),
    [
        ("GET", {}, {"Cache-Control": "no-store"}),
        ("GET", {}, {"Cache-Control": "private"}),
        ("GET", {}, {"Set-Cookie": "a=b"}),
        ("GET", {"Authorization": "Bearer x"}, {}),
        ("GET", {"Cookie": "a=b"}, {}),
        ("GET", {"Cache-Control": "no-store"}, {}),
        ("POST", {}, {"Cache-Control": "max-age=60"}),
    ],
)
def test_what_is_not_kept(clock: Clock, method: str, headers: dict[str, str], answer: dict[str, str]) -> None:
    cache = Cache(clock=clock)
    lookup = cache.lookup(method, URL, headers)
    assert lookup.outcome == ("bypass" if method == "POST" else "miss")
    assert lookup.answered(200, answer, b"x").body == b"x"
    assert (cache.lookup("GET", URL).response, len(cache), cache.bytes) == (None, 0, 0)


def test_users_and_variants_are_kept_apart(clock: Clock) -> None:
    cache = Cache(clock=clock)
    cache.lookup("GET", URL, user="ann").answered(200, (), b"hers")
    assert cache.lookup("GET", URL, user="bob").response is None
    assert cache.lookup("GET", URL).response is None
    assert hit(cache.lookup("GET", URL, user="ann")).body == b"hers"
    for language in ("de", "en"):
        asked = {"Accept-Language": language}
        cache.lookup("GET", URL, asked).answered(200, {"Vary": "Accept-Language"}, language.encode())
    assert hit(cache.lookup("GET", URL, {"Accept-Language": "de"})).body == b"de"
    assert cache.lookup("GET", "https://api.example/items", {"Accept-Language": "de"}).response is None


def test_forgetting(clock: Clock) -> None:
    cache = Cache(tags=["all"], clock=clock)
    for path in ("/a/1", "/a/2", "/b"):
        cache.lookup("GET", f"http://h{path}").answered(200, {"Cache-Tag": f"t{path[1]}"}, b"x")
    clock.pass_by(1)
    assert cache.purge(prefix="/a/") == 2
    assert cache.purge(tag="tb") == 1
    assert (cache.purge(), len(cache)) == (0, 0)
    clock.pass_by(1)
    cache.lookup("GET", URL).answered(200, (), b"x")
    clock.pass_by(1)
    assert cache.lookup("GET", URL).response
    cache.invalidate(URL)
    assert cache.lookup("GET", URL).response is None
    with pytest.raises(EngineError, match="one of"):
        cache.purge(url="/", tag="x")


def test_memory_is_bounded(clock: Clock) -> None:
    cache = Cache("1MB", max_entry="1MB", clock=clock)
    for number in range(200):
        cache.lookup("GET", f"http://h/{number}").answered(200, (), bytes(20_000))
    assert 0 < cache.bytes <= 2**20
    cache.purge()
    clock.pass_by(1)
    cache.lookup("GET", URL).answered(200, (), bytes(100_000))
    assert len(cache) == 0


def test_only_if_cached(clock: Clock) -> None:
    lookup = Cache(clock=clock).lookup("GET", URL, {"Cache-Control": "only-if-cached"})
    assert hit(lookup).status == 504


def test_threads_share_it(clock: Clock) -> None:
    cache = Cache(clock=clock)
    wrong: list[Any] = []

    def work(own: int) -> None:
        for number in range(300):
            url = f"http://h/{number % 20}"
            lookup = cache.lookup("GET", url, user=str(own))
            response = lookup.response or lookup.answered(200, (), f"{own} {url}".encode())
            if response.body != f"{own} {url}".encode():
                wrong.append(response)

    threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(cache) == 80


def test_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"test_cache\.py:\d+: tll: .*did you mean `ttl`"):
        Cache(tll="10s")
    with pytest.raises(ValueError, match="1 MB"):
        Cache("1KB")
    with pytest.raises(ValueError, match="not a size"):
        Cache("large")
    cache = Cache()
    with pytest.raises(ValueError, match=r"."):
        cache.lookup("GET", "items")
    lookup = cache.lookup("GET", URL)
    with pytest.raises(ValueError, match="200 to 599"):
        lookup.answered(99, ())
    with pytest.raises(ValueError, match="line breaks"):
        lookup.answered(200, {"X": "a\r\nSet-Cookie: b"})


def test_real_time() -> None:
    assert Cache().lookup("GET", URL).response is None
