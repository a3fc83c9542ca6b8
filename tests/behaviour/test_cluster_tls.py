"""Gateways and a real store that speaks TLS: whom they trust, and as whom they are let in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.instance import RawInstance
from support.running import Running
from support.tls import Authority
from support.valkey import SecureRedis, SecureSentinel

Start = Callable[..., Running]
LIMIT = {"limit": 60, "per": "365d", "key": "global", "mode": "exact"}


class Files:
    """The authority of a store, and what it has certified."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.server = self.authority.issue("server", "127.0.0.1")
        self.node = self.authority.issue("node", "node")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def node(gateway: Start, instance: RawInstance) -> Callable[..., Running]:
    """Starts a node of a cluster with this store."""

    def start(url: str, tls: dict[str, str], **cluster: Any) -> Running:
        config = {
            "cluster": {"name": "test", "store": url, "tls": tls, "on_store_error": "deny", "timeout": "2s", **cluster},
            "routes": [{"name": "all", "prefix": "/", "service": "all", "rate_limit": LIMIT}],
        }
        return gateway(config, all=instance)

    return start


@pytest.fixture
def store(tmp_path: Path, files: Files) -> Iterator[SecureRedis]:
    with SecureRedis(tmp_path, files.authority, files.server) as server:
        yield server


def problem(node: Running) -> str:
    """Why the store is not available."""
    return str(node.gateway.stats()["store"]["problem"])


def test_nodes_share_a_limit_over_tls(node: Callable[..., Running], store: SecureRedis, files: Files) -> None:
    tls = {"ca": str(files.authority.file), **files.node}
    started = [node(store.url, tls) for _ in range(2)]
    assert [problem(one) for one in started] == ["None", "None"]
    assert Counter(one.get("/").status for _ in range(60) for one in started) == {200: 60, 429: 60}


@pytest.mark.long
def test_nodes_find_a_primary_over_tls(
    node: Callable[..., Running], store: SecureRedis, files: Files, tmp_path: Path
) -> None:
    (tmp_path / "sentinel").mkdir()
    with SecureSentinel(tmp_path / "sentinel", store, files.authority, files.server) as sentinel:
        tls = {"ca": str(files.authority.file), **files.node}
        started = [node(sentinel.url, tls) for _ in range(2)]
        assert [problem(one) for one in started] == ["None", "None"]
        assert Counter(one.get("/").status for _ in range(60) for one in started) == {200: 60, 429: 60}


WRONG = {
    "another authority": "invalid peer certificate: UnknownIssuer",
    "expired": "invalid peer certificate: certificate expired",
    "another name": "invalid peer certificate: certificate not valid for name",
    "no certificate of its own": "CertificateRequired",
    "a certificate of another authority": "UnknownCA",
}
"""What is wrong, and what is said of it."""


@pytest.mark.long
@pytest.mark.parametrize("what", WRONG)
def test_a_store_that_cannot_be_trusted_is_not_used(
    node: Callable[..., Running], tmp_path: Path, files: Files, what: str
) -> None:
    (tmp_path / "other").mkdir()
    other, certificate = Authority(tmp_path / "other"), files.server
    tls = {"ca": str(files.authority.file), **files.node}
    match what:
        case "another authority":
            tls["ca"] = str(other.file)
        case "expired":
            yesterday = datetime.now(UTC) - timedelta(days=1)
            certificate = files.authority.issue("expired", "127.0.0.1", not_after=yesterday)
        case "another name":
            certificate = files.authority.issue("named", "store.example")
        case "no certificate of its own":
            tls = {"ca": str(files.authority.file)}
        case "a certificate of another authority":
            tls |= other.issue("node", "node")
    with SecureRedis(tmp_path, files.authority, certificate) as store:
        started = node(store.url, tls)
        assert WRONG[what] in problem(started)
        assert started.get("/").status == 429
