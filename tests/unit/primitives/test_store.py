"""A store of limiters, as far as nothing is connected: which arguments fit, and what is said of those that do not."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError
from pylae.primitives import CounterStore, RateLimiter, SlidingWindow, SlidingWindowRateLimiter, TokenBucket
from pylae.testing import FakeClock

URL = "valkey://127.0.0.1:1"
KINDS = [(TokenBucket, (5, "1m")), (SlidingWindow, (5, "1m")), (RateLimiter, (5,)), (SlidingWindowRateLimiter, (5,))]


@pytest.mark.parametrize(
    ("url", "settings", "message"),
    [
        ("http://127.0.0.1", {}, 'store: is not the URL of a store; found "http://127.0.0.1" (write val'),
        ("valkey://a:0", {}, "store: has a server that is not HOST or HOST:PORT"),
        ("valkey://user:secret@a", {}, "store: must not contain a user or a password"),
        ("valkey+sentinel://a,b", {}, "store: needs the name by which the Sentinels know the store"),
        (URL, {"name": "a shop"}, "name: "),
        (URL, {"on_store_error": "allwo"}, "did you mean `allow`"),
        (URL, {"timeout": "1ms"}, "timeout: "),
        (URL, {"user": "ada"}, "`user` needs `password`"),
        (URL, {"tls": {"ca": "ca.pem"}}, "write valkeys:// in place of valkey://"),
        ("valkeys://a", {"tls": {"ca": "no-such.pem"}}, "tls.ca: the file no-such.pem cannot be read"),
    ],
)
def test_settings_that_are_wrong_are_said_with_their_place(url: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CounterStore(url, **{"name": "shop", **settings})
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    (problem,) = caught.value.problems
    assert problem.file == __file__
    assert problem.in_code


def test_certificates_that_are_none_are_said_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"test_store.py:\d+: tls.ca: ") as caught:
        CounterStore("valkeys://a", name="shop", tls={"ca": str(tmp_path / "ca.pem")})
    assert caught.value.problems[0].in_code


@pytest.mark.parametrize(("kind", "figures"), KINDS)
def test_limits_in_a_store_need_a_name_and_no_clock(kind: Any, figures: tuple[Any, ...]) -> None:
    store = CounterStore(URL, name="shop")
    for arguments, message in [
        ({"store": store}, "needs a name, by which other processes find it"),
        ({"store": store, "name": ""}, "needs a name, by which other processes find it"),
        ({"store": store, "name": "a", "clock": FakeClock()}, "the clock of the store counts"),
        ({"store": store, "name": "a", "mode": "exakt"}, '`mode` must be "fast" or "exact", not \'exakt\''),
        ({"name": "a"}, "pass `store` too"),
        ({"mode": "exact"}, "pass `store` too"),
    ]:
        with pytest.raises(ValueError, match=message):
            kind(*figures, **arguments)
    with pytest.raises(ValueError, match="limit"):
        kind(0, *figures[1:], store=store, name="a")
    kind(*figures, store=store, name="a", clock=time.monotonic_ns)
    # Nothing is connected for all that.
    assert not any(thread.name == "pylae-store-log" for thread in threading.enumerate())


def test_keys_are_bounded_by_the_store() -> None:
    with pytest.raises(ValueError, match="write `max_keys` at the store"):
        RateLimiter(5, store=CounterStore(URL, name="shop"), name="a", max_clients=10)
    assert len(RateLimiter(5, store=CounterStore(URL, name="shop"), name="a")) == 0
    with pytest.raises(ValueError, match="max_keys must be at least 1"):
        CounterStore(URL, name="shop", max_keys=0)
