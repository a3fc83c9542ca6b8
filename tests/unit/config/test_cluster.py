from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, Gateway
from pylae.cluster.settings import store_url
from pylae.settings import Cluster


@pytest.mark.parametrize(
    ("url", "kind", "tls", "servers", "primary", "database"),
    [
        ("valkey://store", "single", False, [("store", 6379)], None, 0),
        ("redis://127.0.0.1:7000/2", "single", False, [("127.0.0.1", 7000)], None, 2),
        ("valkeys://[2001:DB8::0:1]:7000", "single", True, [("2001:db8::1", 7000)], None, 0),
        ("rediss://[::1]/0", "single", True, [("::1", 6379)], None, 0),
        ("valkey+sentinel://a,b:7/main", "sentinel", False, [("a", 26379), ("b", 7)], "main", 0),
        ("rediss+sentinel://A/main/3", "sentinel", True, [("a", 26379)], "main", 3),
        ("valkeys+cluster://a, b:7000", "cluster", True, [("a", 6379), ("b", 7000)], None, 0),
    ],
)
def test_stores(url: str, kind: str, tls: bool, servers: Any, primary: str | None, database: int) -> None:
    assert store_url(url) == (kind, tls, tuple(servers), primary, database)


@pytest.mark.parametrize(
    ("store", "message", "hint"),
    [
        ("store:6379", "is not the URL of a store", "write valkey://HOST:PORT"),
        ("http://store", "is not the URL of a store", "write valkey://HOST:PORT"),
        ("valkey+cluster+sentinel://a", "is not the URL of a store", "write valkey://"),
        ("valkey://user:secret@store", "must not contain a user or a password", "write `user` and `password` beside"),
        ("valkey://", "has a server that is not HOST or HOST:PORT", "write valkey://"),
        ("valkey://a b", "has a server that is not HOST or HOST:PORT", "write valkey://"),
        ("valkey://a:0", "has a server that is not HOST or HOST:PORT", "write valkey://"),
        ("valkey://a:65536", "has a server that is not HOST or HOST:PORT", "write valkey://"),
        ("valkey://[:::]", "has a server that is not HOST or HOST:PORT", "write valkey://"),
        ("valkey://a,b", "has several servers", "Sentinels, valkey+sentinel://, or a Cluster, valkey+cluster://"),
        ("valkey+cluster://" + ",".join("abcdefghijklmnopq"), "has more than 16 servers", "some are enough"),
        ("valkey+sentinel://a", "needs the name by which the Sentinels know the store", "e.g. valkey+sentinel://"),
        ("valkey://a/b", "ends with something that is not the number of a database", "write valkey://"),
        ("valkey+cluster://a/1", "a Cluster has no databases but 0", "leave out the number"),
    ],
)
def test_what_is_no_store_is_said(store: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Cluster(name="shop", store=store)
    (problem,) = caught.value.problems
    assert problem.path == "store"
    assert message in problem.message
    assert hint in (problem.hint or "")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tls": {"verify": False}}, "`tls` has no effect without TLS"),
        ({"sentinel_password": "x"}, "have no effect without Sentinels"),
        ({"user": "a"}, "`user` needs `password`"),
        ({"name": "a b"}, "name"),
        ({"node": "a b"}, "node"),
        ({"timeout": "1ms"}, "timeout: must be at least 5ms"),
        ({"flush": "2s"}, "flush: must be at most 1s"),
        ({"password": ""}, "must have 1 to 512 characters"),
    ],
)
def test_settings_that_do_not_fit_are_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Cluster(**{"name": "shop", "store": "valkey://store", **settings})


def test_without_it_there_is_none_in_the_plan() -> None:
    assert Gateway(routes=[]).plan()["cluster"] is None


def test_a_certificate_that_is_none_is_said_at_its_place(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    (tmp_path / "pylae.yaml").write_text(
        "cluster:\n  name: shop\n  store: valkeys://store\n  tls: {ca: ca.pem}\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError) as caught:
        Gateway.from_file(tmp_path / "pylae.yaml").check()
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == ("cluster.tls.ca", 4)
