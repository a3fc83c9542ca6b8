"""What `store` may say, and what a mistake in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pylae import ConfigError, Gateway
from pylae.settings import Config, StoreSettings
from pylae.store.settings import StoreUrl, store_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("sqlite", StoreUrl("sqlite")),
        ("postgresql://a/b", StoreUrl("postgresql", False, (("a", 5432),), "b")),
        ("postgresql://a:1,[::1]:2/My-db/shop", StoreUrl("postgresql", False, (("a", 1), ("::1", 2)), "My-db", "shop")),
        ("postgresql+tls://a/b/", StoreUrl("postgresql", True, (("a", 5432),), "b")),
        ("etcd://a,B:7", StoreUrl("etcd", False, (("a", 2379), ("b", 7)))),
        (" etcd+tls://a/shop_2 ", StoreUrl("etcd", True, (("a", 2379),), "", "shop_2")),
    ],
)
def test_urls(text: str, url: StoreUrl) -> None:
    assert store_url(text) == url
    assert store_url(str(url)) == url
    assert Gateway(store=text, routes=[]).config.store == StoreSettings(url=text)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "is not the URL of a store", "write sqlite, postgresql://"),
        ("postgres://a/b", "is not the URL of a store", "write sqlite, postgresql://"),
        ("postgresql+ssl://a/b", "is not the URL of a store", "with +tls"),
        ("valkey://a", "is not the URL of a store", "etcd://HOST:PORT"),
        ("sqlite:///tmp/a.db", "SQLite needs no address", "the file is in the state folder"),
        ("postgresql://me:secret@a/b", "must not contain a user or a password", "`user` and `password` beside it"),
        ("postgresql://a", "needs the name of a database", "postgresql://HOST:PORT/DATABASE"),
        ("postgresql://a/b?sslmode=off", "needs the name of a database", None),
        ("postgresql:///b", "has a server that is not HOST or HOST:PORT", None),
        ("postgresql://a/b/Pylae", "cannot be the name of a schema", "a-z, 0-9 and _"),
        ("postgresql://a/b/x; drop table", "cannot be the name of a schema", None),
        ("etcd://a:0", "has a server that is not HOST or HOST:PORT", None),
        ("etcd://a/b/c", "cannot be the first word of all keys", None),
        ("etcd://" + ",".join("abcdefghijklmnopq"), "has more than 16 servers", None),
    ],
)
def test_mistakes(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        StoreSettings(url=text)
    (problem,) = caught.value.problems
    assert message in problem.message
    assert (hint or "") in (problem.hint or "")
    assert "secret" not in str(problem)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"user": "me"}, "`user`, `password` and `tls` have no effect with SQLite"),
        ({"url": "etcd://a", "tls": {}}, "`tls` has no effect without TLS"),
        ({"url": "etcd://a", "user": "me"}, "`user` and `password` belong together"),
        ({"url": "postgresql+tls://a/b", "tls": {"server_name": "c"}}, "has no effect with PostgreSQL"),
        ({"timeout": "10ms"}, "must be at least"),
        ({"history": 0}, "must be at least 1"),
        ({"url": "etcd://a", "user": "me", "password": ""}, "must have 1 to 512 characters"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StoreSettings(**settings)  # type: ignore[arg-type]


def test_a_file_that_is_not_there_is_found(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("store:\n  url: etcd+tls://a\n  tls: {ca: ca.pem}\n")
    with pytest.raises(ConfigError) as caught:
        Gateway.from_file(file).check()
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == ("store.tls.ca", 3)


def test_it_is_sqlite_unless_it_says_otherwise(tmp_path: Path) -> None:
    assert Config().store.url == "sqlite"
    file = tmp_path / "gateway.yaml"
    file.write_text("store: {url: 'etcd://a', user: me, password: '${PYLAE_TEST_UNSET:-word}'}\n")
    store = Gateway.from_file(file).config.store
    assert store.password
    assert (store.user, store.password.get_secret_value()) == ("me", "word")
    # The native side does not know of it.
    assert "store" not in Gateway.from_file(file).plan()
