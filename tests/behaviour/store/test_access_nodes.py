"""Gateways that share a store: tokens and the audit on all of them, also while the store is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.peer import wait_until
from support.running import Process
from support.stores import Engine

pytestmark = pytest.mark.long


class Node:
    """A gateway that runs, and a client of its admin API."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        folder.mkdir()
        settings = engine.given(timeout=0.5)
        store: dict[str, Any] = {"url": settings.url, "timeout": "500ms"}
        if settings.user and settings.password:
            store |= {"user": settings.user, "password": settings.password.get_secret_value()}
        given: dict[str, Any] = {"listeners": ["127.0.0.1:0"], "workers": 1, "admin": "127.0.0.1:0", "store": store}
        given["state"] = str(folder / "state")
        self.state = folder / "state"
        self.process = Process(given, folder)
        address = self.process.said("admin API on").split()[-1]
        token = (self.state / "admin-token").read_text().strip()
        self.http = httpx.Client(
            base_url=f"http://{address}", headers={"Authorization": f"Bearer {token}"}, timeout=30, verify=False
        )

    def status(self, secret: str) -> int:
        """What the gateway answers a holder of a token who asks how it is."""
        return self.http.get("/status", headers={"Authorization": f"Bearer {secret}"}).status_code

    def close(self) -> None:
        self.http.close()
        self.process.stop()


Start = Callable[[str], Node]


@pytest.fixture
def start(shared: Engine, tmp_path: Path) -> Iterator[Start]:
    with shared.connect() as store:
        store.migrate()
    with ExitStack() as stack:

        def begin(name: str) -> Node:
            node = Node(shared, tmp_path / name)
            stack.callback(node.close)
            return node

        yield begin


def paths(node: Node) -> list[tuple[str, str, int]]:
    """Method, path and status of all lines of the audit, oldest first."""
    lines = node.http.get("/audit?most=1000").json()["lines"]
    return [(one["method"], one["path"], one["status"]) for one in lines[::-1]]


def test_tokens_and_audit_of_two_gateways(start: Start, shared: Engine) -> None:
    one, other = start("one"), start("other")
    secret = one.http.post("/tokens", json={"name": "ci", "scopes": ["operate"]}).json()["secret"]
    assert one.status(secret) == 200
    wait_until(lambda: other.status(secret) == 200)
    bearer = {"Authorization": f"Bearer {secret}"}
    assert other.http.post("/revocations", json={"user": "7"}, headers=bearer).status_code == 200
    assert shared.server is not None

    shared.server.kill()
    try:
        # Nothing new, and everything else as before.
        refused = one.http.post("/tokens", json={"name": "x", "scopes": ["read"]})
        assert refused.status_code == 503
        assert one.http.delete("/tokens/ci").status_code == 503
        assert (one.status(secret), other.status(secret)) == (200, 200)
        assert other.http.post("/revocations", json={"user": "8"}, headers=bearer).status_code == 200
        assert other.http.get("/audit").status_code == 503
        assert (other.state / "audit.jsonl").read_bytes().count(b"/revocations") >= 1
        one.close()
    finally:
        shared.server.start()
    wait_until(lambda: other.http.get("/audit").status_code == 200)
    wait_until(lambda: ("POST", "/revocations", 200) in paths(other))
    found = paths(other)
    lines = other.http.get("/audit?most=1000").json()["lines"]
    assert len({one["node"] for one in lines}) == 2, "each node has a name"
    assert found.count(("POST", "/revocations", 200)) == 2
    wait_until(lambda: other.http.delete("/tokens/ci").status_code == 200)
    assert other.status(secret) == 401
    third = start("third")
    assert third.status(secret) == 401
    # What was done while the store was away comes before it.
    deleted = ("DELETE", "/tokens/{name}", 200)
    wait_until(lambda: [entry for entry in paths(third) if entry[0] == "DELETE"][-1:] == [deleted])
