"""Several gateways and one store: what one revokes, purges or changes holds on all."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.admin import Admin
from support.instance import EchoInstance, RawInstance
from support.peer import wait_until
from support.relay import Relay
from support.running import Running
from support.tokens import SECRET, bearer, token
from support.valkey import Valkey

Start = Callable[..., Running]
StartAdmin = Callable[..., Admin]

JWT: dict[str, Any] = {"auth": {"jwt": {"secret": SECRET}, "failure_limit": None}}
CACHED = {"routes": [{"name": "r", "prefix": "/", "service": "all", "auth_required": False, "cache": True}]}
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=600\r\n\r\nok"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path) as running:
        yield running


def cluster(store: Valkey | Relay, **settings: str) -> dict[str, Any]:
    """The time-out is long enough for a machine with much else to do."""
    return {"cluster": {"name": "shop", "store": f"valkey://127.0.0.1:{store.port}", "timeout": "2s", **settings}}


def credential(user: str, **claims: Any) -> str:
    return bearer(token(sub=user, iat=int(time.time()), exp=int(time.time()) + 600, **claims))


def refuses(node: Running, field: str) -> bool:
    return node.get("/", field).status == 401


def feed(node: Running) -> dict[str, Any]:
    found: dict[str, Any] = node.gateway.stats()["feed"]
    return found


def test_what_one_node_revokes_all_refuse(gateway: Start, echo: EchoInstance, store: Valkey) -> None:
    nodes = [gateway({**JWT, **cluster(store)}, echo=echo) for _ in range(3)]
    one, other, ada = credential("7", jti="a"), credential("7", jti="b"), credential("ada.lovelace")
    assert not any(refuses(node, field) for node in nodes for field in (one, other, ada))
    nodes[0].gateway.revoke(jti="a")
    nodes[1].gateway.revoke(user="ada.lovelace")
    assert (refuses(nodes[0], one), refuses(nodes[1], ada)) == (True, True)
    wait_until(lambda: all(refuses(node, field) for node in nodes for field in (one, ada)))
    assert not any(refuses(node, other) for node in nodes)
    # Names are not in the clear.
    assert b"lovelace" not in b"".join(store.ask("ZRANGE", "pylae:{shop}:stream:revocations", 0, -1))  # type: ignore[arg-type]


def test_a_node_knows_what_was_revoked_before_it_started(gateway: Start, echo: EchoInstance, store: Valkey) -> None:
    first, ada = gateway({**JWT, **cluster(store)}, echo=echo), credential("ada")
    first.gateway.revoke(user="ada")
    wait_until(lambda: feed(first)["unpublished_revocations"] == 0)
    # Clusters of other names have nothing to do with it.
    assert not refuses(gateway({**JWT, **cluster(store, name="other")}, echo=echo), ada)
    assert refuses(gateway({**JWT, **cluster(store)}, echo=echo), ada)


def test_a_node_that_stops_has_published_what_it_revoked(gateway: Start, echo: EchoInstance, store: Valkey) -> None:
    first, ada = gateway({**JWT, **cluster(store)}, echo=echo), credential("ada")
    first.gateway.revoke(user="ada")
    first.stop()
    assert refuses(gateway({**JWT, **cluster(store)}, echo=echo), ada)


def test_a_node_that_was_cut_off_catches_up(
    admin: StartAdmin, gateway: Start, echo: EchoInstance, store: Valkey
) -> None:
    one = gateway({**JWT, **cluster(store)}, echo=echo)
    with Relay(store.port) as relay, admin({**JWT, **cluster(relay)}, echo=echo) as other:
        ada, eve = credential("ada"), credential("eve")
        relay.cut()
        wait_until(lambda: not feed(other.running)["available"])
        one.gateway.revoke(user="ada")
        assert other.post("/revocations", user="eve", ttl="1h") == {"delayed": True}
        assert refuses(other.running, eve)
        assert not refuses(other.running, ada)
        assert other.get("/revocations") == {"number": 1, "current": True, "unpublished": 1}
        assert other.get("/ready") == {"status": "ready"}
        relay.mend()
        wait_until(lambda: refuses(other.running, ada) and refuses(one, eve))
        wait_until(lambda: other.get("/revocations") == {"number": 2, "current": True, "unpublished": 0})
        assert other.post("/revocations", user="eve") == {"delayed": False}
        text = other.http.get("/metrics").text
        assert 'pylae_cluster_unpublished{kind="cache_change"} 0' in text
        assert "pylae_cluster_current 1" in text
        assert re.search(r"^pylae_revocations [23]$", text, re.MULTILINE), (
            "while a revocation is repeated, it is there twice"
        )


def test_all_stay_in_force_if_the_store_forgets_them_and_nodes_start_again(
    gateway: Start, echo: EchoInstance, store: Valkey
) -> None:
    config = {**JWT, **cluster(store)}
    nodes = [gateway(config, echo=echo) for _ in range(2)]
    users = [credential(f"user {number}") for number in range(20)]
    for number in range(20):
        nodes[number % 2].gateway.revoke(user=f"user {number}")
    wait_until(lambda: all(refuses(node, field) for node in nodes for field in users))
    store.ask("FLUSHALL")
    nodes[0].stop()
    nodes[0] = gateway(config, echo=echo)
    wait_until(lambda: all(refuses(nodes[0], field) for field in users))
    # Each has what the other has had.
    nodes[1].stop()
    store.kill()
    assert store.start()
    nodes[1] = gateway(config, echo=echo)
    wait_until(lambda: all(refuses(node, field) for node in nodes for field in users))


def test_a_purge_is_for_all_nodes(gateway: Start, store: Valkey) -> None:
    with RawInstance(ANSWER) as instance:
        nodes = [gateway({**CACHED, **cluster(store)}, all=instance) for _ in range(3)]
        for path in ("/a", "/b"):
            assert [node.get(path).status for node in nodes] == [200] * 3
        assert nodes[0].gateway.purge_cache(url="/a") == 1
        wait_until(lambda: all(node.gateway.stats()["cache"]["entries"] == 1 for node in nodes))
        assert nodes[1].gateway.purge_cache() == 1
        wait_until(lambda: all(node.gateway.stats()["cache"]["entries"] == 0 for node in nodes))


def test_a_purge_while_the_store_is_away_is_made_up_for(admin: StartAdmin, gateway: Start, store: Valkey) -> None:
    with RawInstance(ANSWER) as instance, Relay(store.port) as relay:
        other = gateway({**CACHED, **cluster(store)}, all=instance)
        with admin({**CACHED, **cluster(relay)}, all=instance) as one:
            other.get("/a")
            relay.cut()
            wait_until(lambda: not feed(one.running)["available"])
            assert one.post("/cache/purge", url="/a") == {"purged": 0, "delayed": True}
            assert feed(one.running)["unpublished_changes"] == 1
            assert other.gateway.stats()["cache"]["entries"] == 1
            relay.mend()
            wait_until(lambda: other.gateway.stats()["cache"]["entries"] == 0)


def test_an_unsafe_request_at_one_node_invalidates_on_all(gateway: Start, store: Valkey) -> None:
    with RawInstance(ANSWER) as instance:
        nodes = [gateway({**CACHED, **cluster(store)}, all=instance) for _ in range(2)]
        for path in ("/a?x=1", "/b"):
            assert [node.get(path).status for node in nodes for _ in range(2)] == [200] * 4
        assert len(instance.requests) == 4
        nodes[0].raw(b"POST /a HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 0\r\n\r\n", 1, method="POST")

        def asked() -> bool:
            """The other node has asked the instance once more."""
            nodes[1].get("/a?x=1")
            return len(instance.requests) == 6

        wait_until(asked)
        nodes[1].get("/b")
        assert len(instance.requests) == 6


def test_a_node_without_its_store_is_not_ready_if_it_must_not_serve(
    admin: StartAdmin, echo: EchoInstance, store: Valkey
) -> None:
    store.kill()
    with admin({**JWT, **cluster(store, on_store_error="deny")}, echo=echo) as node:
        assert node.http.get("/ready").status_code == 503
        assert node.http.get("/ready").json() == {"status": "joining"}
        assert node.get("/live") == {"status": "live"}
        health = node.get("/health")
        assert health["status"] == "degraded"
        assert "revoked is not known" in health["reasons"][0]
        assert store.start()
        wait_until(lambda: node.http.get("/ready").status_code == 200)
        assert node.get("/health")["status"] == "healthy"
