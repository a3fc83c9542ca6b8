"""Gateways that share a store have the same switches to maintenance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pylae.config.checks.local import KEYS
from pylae.maintenance.switch import PREFIX, Switch, key_of
from support.admin import Admin
from support.instance import EchoInstance
from support.peer import wait_until
from support.running import Running, configure
from support.stores import Engine

Node = Callable[[str], Admin]


@pytest.fixture
def node(shared: Engine, echo: EchoInstance, tmp_path: Path) -> Iterator[Node]:
    """Starts a node with a state folder of this name."""
    settings = shared.given()
    store: dict[str, Any] = {"url": settings.url, "user": settings.user, "timeout": "1s"}
    if settings.password:
        store["password"] = settings.password.get_secret_value()
    with shared.connect() as empty:
        empty.migrate()

    document = configure(all=echo)
    own = {key: document.pop(key) for key in KEYS if key in document}
    started: list[Running] = []

    def start(name: str) -> Admin:
        running = Running({**own, "admin": "127.0.0.1:0", "state": str(tmp_path / name), "store": store})
        api = Admin(running)
        if not started:
            # Others follow what the first one has.
            begun = api.http.put("/config", json=document, params={"now": "true"}, headers={"If-Match": "*"})
            assert begun.status_code == 202, begun.text
        started.append(running)
        wait_until(lambda: running.get("/").status != 404)
        return api

    yield start
    for running in started:
        running.stop()


def shut(api: Admin) -> bool:
    """Whether a node answers that it is under maintenance."""
    return api.running.get("/").status == 503


def test_all_follow_and_keep_it_while_the_store_is_gone(node: Node, shared: Engine) -> None:
    assert shared.server
    with node("first") as first, node("second") as second:
        assert first.http.put("/maintenance", json={"text": "shut"}).json() == {"changed": True}
        assert shut(first)
        wait_until(lambda: shut(second))
        assert second.get("/maintenance")["switches"] == first.get("/maintenance")["switches"]
        assert second.http.delete("/maintenance").json() == {"changed": True}
        assert not shut(second)
        wait_until(lambda: not shut(first))
        assert first.http.put("/maintenance/services/all", json={}).is_success
        wait_until(lambda: shut(second))
        shared.server.kill()
        try:
            wait_until(lambda: second.get("/maintenance")["trouble"] is not None)
            for change in (
                second.http.delete("/maintenance/services/all"),
                second.http.put("/maintenance", json={}),
            ):
                assert change.status_code == 503
                assert "nothing was changed" in change.json()["detail"]
            assert [one["scope"] for one in second.get("/maintenance")["switches"]] == ["service"]
            assert shut(first)
            assert shut(second)
            # What it knew last, it knows after a restart too.
            second.running.stop()
            with node("second") as again:
                assert shut(again)
        finally:
            shared.server.start()
        assert first.http.delete("/maintenance/services/all").status_code in (200, 503)
        wait_until(lambda: first.get("/maintenance")["trouble"] is None)
        first.http.delete("/maintenance/services/all")
        assert not shut(first)


def test_a_node_that_was_away_learns_what_has_changed(node: Node) -> None:
    with node("first") as first:
        assert first.http.put("/maintenance", json={}).is_success
        with node("second") as second:
            wait_until(lambda: shut(second))
            second.running.stop()
        assert first.http.delete("/maintenance").is_success
        with node("second") as second:
            wait_until(lambda: not shut(second))


def test_what_others_write_is_not_trusted(node: Node, shared: Engine, caplog: pytest.LogCaptureFixture) -> None:
    good = Switch("route", "all", "shut", 60, "2026-01-01T00:00:00+00:00", "somebody")
    with node("first") as first, shared.connect() as store:
        for number, value in enumerate((b"", b"\xff", b"[]", b'{"version": 7}', good.value(), b"[" * 100_000)):
            store.put(f"{PREFIX}routes/x{number}", value)
        store.put(key_of("gateway", ""), b'{"version": 1, "scope": "gateway", "name": "", "text": "a\\nb"}')
        store.put(good.key, good.value())
        wait_until(lambda: shut(first))
        assert [one["name"] for one in first.get("/maintenance")["switches"]] == ["all"]
        assert first.get("/maintenance")["trouble"] is None
        assert "is no switch to maintenance and is ignored: it is that of another key" in caplog.text
        # Once each, not at every look.
        assert caplog.text.count(f"{PREFIX}routes/x0 ") == 1
