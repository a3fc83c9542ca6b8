"""The nodes of a cluster: who lives, how the store is, and what nodes disagree about."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pylae.cli import main
from support.admin import Admin
from support.exposition import Page
from support.instance import EchoInstance
from support.peer import wait_until
from support.valkey import Valkey

StartAdmin = Callable[..., Admin]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path) as server:
        yield server


def configuration(store: Valkey, node: str, **routes: Any) -> dict[str, Any]:
    # The time-out is long enough for a machine with much else to do.
    cluster = {"name": "shop", "store": store.url, "node": node, "timeout": "2s"}
    # Each node has a state folder of its own.
    state = str(store.folder / secrets.token_hex(4))
    return {"cluster": cluster, "state": state, "routes": [{"name": "r", "prefix": "/", "service": "echo", **routes}]}


def pylae(admin: Admin, *arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"PYLAE_ADMIN": admin.address, "PYLAE_ADMIN_TOKEN": admin.token})


def names(admin: Admin) -> list[str]:
    return [one["name"] for one in admin.get("/nodes")["nodes"]]


def test_each_node_lists_all(admin: StartAdmin, echo: EchoInstance, store: Valkey) -> None:
    with admin(configuration(store, "a"), echo=echo) as one, admin(configuration(store, "b"), echo=echo) as two:
        # A node that has just started knows at once.
        assert names(two) == ["a", "b"]
        assert one.get("/status")["cluster"]["node"] == "a"
        wait_until(lambda: names(one) == ["a", "b"])
        found = two.get("/nodes")
        first, second = found["nodes"]
        assert (found["cluster"], found["available"], found["disagreements"]) == ("shop", True, [])
        assert (first["this"], second["this"]) == (False, True)
        assert first["configuration"] == second["configuration"] != ""
        assert first["id"] != second["id"]
        wait_until(lambda: all(node["round_trip"] is not None for node in two.get("/nodes")["nodes"]))
        told = pylae(two, "nodes")
        assert told.exit_code == 0, told.output
        lines = told.stdout.splitlines()
        assert lines[0] == "cluster shop"
        assert [line.split()[0] for line in lines[2:]] == ["a", "b"]
        assert lines[3].startswith("b (this one)  ")
        one.running.gateway.stop()
        two.running.gateway.stop()
    with admin(configuration(store, "c"), echo=echo) as three:
        assert names(three) == ["c"], "who has stopped has left"


def test_what_nodes_disagree_about_is_said(admin: StartAdmin, echo: EchoInstance, store: Valkey) -> None:
    other = configuration(store, "a", rate_limit=5)
    other["cluster"]["on_store_error"] = "deny"
    with admin(configuration(store, "a"), echo=echo), admin(other, echo=echo) as two:
        disagreements = two.get("/nodes")["disagreements"]
        assert len(disagreements) == 3
        assert disagreements[0] == "2 nodes have the name a: give each a `cluster.node` of its own"
        assert disagreements[1].startswith("the nodes have different configurations: ")
        assert "on_store_error deny" in disagreements[2]
        assert disagreements[2] in pylae(two, "nodes").stdout


def test_without_a_cluster_there_are_no_nodes(admin: StartAdmin, echo: EchoInstance) -> None:
    with admin("{}", echo=echo) as api:
        assert api.http.get("/nodes").status_code == 404
        assert "is not a node of a cluster" in pylae(api, "nodes").output
        assert api.get("/status")["cluster"] is None


def test_health_and_status_say_that_the_store_is_away(admin: StartAdmin, echo: EchoInstance, store: Valkey) -> None:
    with admin(configuration(store, "a", rate_limit=1000), echo=echo) as api:
        assert api.get("/health")["status"] == "healthy"
        assert "cluster: shop, node a alone, store connected" in pylae(api, "status").stdout
        store.kill()
        wait_until(lambda: api.get("/health")["status"] == "degraded")
        assert "the store of cluster shop has not been available for " in api.get("/health")["reasons"][0]
        assert "store not available" in pylae(api, "status").stdout
        assert "the store is not available: what follows is old" in pylae(api, "nodes").stdout
        assert Page(api.http.get("/metrics").text).value("pylae_store_up") == 0
        assert store.start()
        wait_until(lambda: api.get("/health")["status"] == "healthy")
        page = Page(api.http.get("/metrics").text)
        assert (page.value("pylae_store_up"), page.value("pylae_cluster_nodes")) == (1, 1)
        assert page.value("pylae_store_connections_total") >= 2


def test_each_call_and_each_error_is_counted_once(admin: StartAdmin, echo: EchoInstance, store: Valkey) -> None:
    limit = {"limit": 1000, "mode": "exact", "key": "header:x-key"}
    with admin(configuration(store, "a", rate_limit=limit), echo=echo) as api:
        for number in range(20):
            assert api.running.get("/", f"X-Key: {number}").status == 200
        page = Page(api.http.get("/metrics").text)
        assert page.value("pylae_store_calls_total") >= 20
        assert page.value("pylae_store_duration_seconds_count") >= 1
        assert page.value("pylae_store_views") == 20
        store.ask("CONFIG", "SET", "maxmemory", "1")
        before = page.value("pylae_store_errors_total", kind="refused")
        assert api.running.get("/", "X-Key: full").status == 200, "`on_store_error` has decided"
        wait_until(
            lambda: Page(api.http.get("/metrics").text).value("pylae_store_errors_total", kind="refused") > before
        )
