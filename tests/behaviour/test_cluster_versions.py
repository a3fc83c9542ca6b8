"""What nodes of other versions have written in the store: a node works with it, or says that it does not.

The next version is not there yet, so the tests write what it could write.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from pylae.cli import main
from support.admin import Admin
from support.instance import EchoInstance, RawInstance
from support.peer import wait_until
from support.relay import Relay
from support.running import Running
from support.tokens import SECRET, bearer, token
from support.valkey import Valkey

Start = Callable[..., Running]
StartAdmin = Callable[..., Admin]
NODES, STREAM = "pylae:{shop}:nodes", "pylae:{shop}:stream"
CACHED = {"routes": [{"name": "r", "prefix": "/", "service": "all", "auth_required": False, "cache": True}]}
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=600\r\n\r\nok"
NEXT = {"id": "1", "name": "next", "protocol": 2, "version": "9.0", "since": 1, "colour": ["blue"]}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path) as server:
        yield server


def cluster(store: Valkey | Relay, **settings: str) -> dict[str, Any]:
    """The time-out is long enough for a machine with much else to do."""
    address = f"valkey://127.0.0.1:{store.port}"
    return {"cluster": {"name": "shop", "store": address, "node": "this", "timeout": "2s", **settings}}


def announce(store: Valkey, word: object) -> None:
    """Says that a node lives, for the next five seconds."""
    said = word if isinstance(word, bytes) else json.dumps(word).encode()
    store.ask("ZADD", NODES, int(time.time() * 1000), said)


def limited(limit: dict[str, Any]) -> dict[str, Any]:
    return {"routes": [{"name": "r", "prefix": "/", "service": "echo", "auth_required": False, "rate_limit": limit}]}


def written(store: Valkey, kind: str) -> bytes:
    """The key that was written about a limit, once there is one."""
    wait_until(lambda: store.ask("KEYS", f"pylae:shop:{kind}:*") != [])
    (key,) = cast("list[bytes]", store.ask("KEYS", f"pylae:shop:{kind}:*"))
    return key


def test_a_node_of_the_next_version_works_with_this_one(admin: StartAdmin, echo: EchoInstance, store: Valkey) -> None:
    announce(store, NEXT)
    with admin(cluster(store), echo=echo) as node:
        found = node.get("/nodes")
        assert [one["name"] for one in found["nodes"]] == ["next", "this"]
        assert "the nodes have different versions of Pylae: " in found["disagreements"][0]
        assert node.get("/health")["status"] == "healthy"


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ({**NEXT, "protocol": 3}, "node next has version 9.0 of Pylae, which does not work together with "),
        ({"name": "next", "version": "9.0"}, "node next has version 9.0 of Pylae, which does not work together with "),
        (b"\x01\x02", "what it says of itself cannot be read"),
    ],
)
def test_a_node_of_a_version_further_away_is_refused_and_that_is_said(
    admin: StartAdmin, echo: EchoInstance, store: Valkey, caplog: pytest.LogCaptureFixture, word: object, why: str
) -> None:
    announce(store, word)
    with admin({**cluster(store), **limited({"limit": 100})}, echo=echo) as node:
        health = node.get("/health")
        assert health["status"] == "degraded"
        assert why in str(health["reasons"])
        assert node.running.get().status == 200, "`on_store_error` decides"
        assert node.get("/nodes")["available"] is False
        told = CliRunner().invoke(main, ["nodes"], env={"PYLAE_ADMIN": node.address, "PYLAE_ADMIN_TOKEN": node.token})
        assert why in told.output
        wait_until(lambda: why in caplog.text)
    assert store.ask("ZCARD", NODES) == 1, "it has not said that it lives"


def test_a_node_that_comes_back_to_nodes_of_a_version_further_away_is_refused(
    admin: StartAdmin, echo: EchoInstance, store: Valkey
) -> None:
    with Relay(store.port) as relay, admin(cluster(relay), echo=echo) as node:
        relay.cut()
        wait_until(lambda: node.get("/health")["status"] == "degraded")
        # It has been away for so long that they have not seen it.
        store.ask("DEL", NODES)
        announce(store, {**NEXT, "protocol": 3})
        relay.mend()
        wait_until(lambda: "node next has version 9.0 " in str(node.get("/health")["reasons"]))


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window", "fixed_window"])
@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_a_count_of_another_version_is_taken_for_used_up(
    gateway: Start, echo: EchoInstance, store: Valkey, caplog: pytest.LogCaptureFixture, algorithm: str, mode: str
) -> None:
    limit = {"limit": 100, "per": "365d", "algorithm": algorithm, "mode": mode, "key": "global"}
    node = gateway({**cluster(store), **limited(limit)}, echo=echo)
    assert node.get().status == 200
    key = written(store, "limit")
    state = cast("bytes", store.ask("GET", key))
    assert state.startswith(b"pl1")
    store.ask("SET", key, state.replace(b"pl1", b"pl2", 1) + b"more")
    seen = set()

    def refuses() -> bool:
        seen.add(node.get().status)
        return 429 in seen

    # What a node holds or may admit at once it may still use.
    wait_until(refuses)
    assert seen <= {200, 429}
    wait_until(lambda: "perhaps of another version of Pylae; the limit counts as used up" in caplog.text)


def test_places_of_another_version_are_taken_for_used(
    gateway: Start, echo: EchoInstance, store: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    limit = limited({"concurrency": 3, "key": "global"})
    node, other = (gateway({**cluster(store, node=name), **limit}, echo=echo) for name in ("this", "other"))
    known: set[bytes] = set()

    def has_a_place() -> bool:
        node.get()
        known.update(cast("list[bytes]", store.ask("KEYS", "pylae:shop:places:*")))
        return bool(known)

    # The key is there while the node has a place.
    wait_until(has_a_place)
    (key,) = known
    store.ask("SET", key, b"pp2later", "PX", 5000)
    # What this node has it may still use.
    assert other.get().status == 429
    wait_until(lambda: "perhaps of another version of Pylae" in caplog.text)


def last_entry(store: Valkey) -> tuple[str, dict[bytes, bytes]]:
    ((place, fields),) = cast("list[tuple[bytes, list[bytes]]]", store.ask("XREVRANGE", STREAM, "+", "-", "COUNT", 1))
    return place.decode(), dict(zip(fields[::2], fields[1::2], strict=True))


def credential(user: str) -> str:
    return bearer(token(sub=user, iat=int(time.time()), exp=int(time.time()) + 600))


def test_an_entry_of_the_next_version_is_read_as_far_as_it_can_be(
    gateway: Start, store: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    with RawInstance(ANSWER) as instance, EchoInstance() as echo:
        jwt = {"auth": {"jwt": {"secret": SECRET}, "failure_limit": None}}
        routes = [
            {"name": "open", "path": "/open", "service": "all", "auth_required": False, "cache": True},
            {"name": "closed", "prefix": "/closed", "service": "echo"},
        ]
        config = {**jwt, **cluster(store), "routes": routes}
        node, ada, eve = gateway(config, all=instance, echo=echo), credential("ada"), credential("eve")
        node.gateway.revoke(user="ada")
        wait_until(lambda: node.gateway.stats()["feed"]["unpublished_revocations"] == 0)
        node.get("/open")
        assert node.gateway.stats()["cache"]["entries"] == 1
        place, fields = last_entry(store)
        end = int(time.time() + 600) * 1000
        strange = b"session:" + b"0" * 32 + b":0"
        added = [b"revoked", strange + b" %d" % end, b"moved", b"what this version does not know"]
        known = [b"epoch", fields[b"epoch"], b"number", b"%d" % (int(fields[b"number"]) + 1), b"after", place.encode()]
        store.ask("ZADD", f"{STREAM}:revocations", end, strange)
        store.ask("XADD", STREAM, "*", *known, b"origin", b"another", *added)
        wait_until(lambda: "1 revocations are not in force here" in caplog.text)
        # It may have been about any response.
        wait_until(lambda: node.gateway.stats()["cache"]["entries"] == 0)
        assert (node.get("/closed", ada).status, node.get("/closed", eve).status) == (401, 200)
        caplog.clear()
        other = gateway(config, all=instance, echo=echo)
        assert (other.get("/closed", ada).status, other.get("/closed", eve).status) == (401, 200)
        wait_until(lambda: "1 revocations are not in force here" in caplog.text)


def test_a_head_that_this_version_cannot_read_begins_another_epoch(
    gateway: Start, echo: EchoInstance, store: Valkey
) -> None:
    config = {"auth": {"jwt": {"secret": SECRET}, "failure_limit": None}, **cluster(store)}
    nodes, ada = [gateway(config, echo=echo) for _ in range(2)], credential("ada")
    nodes[0].gateway.revoke(user="ada")
    wait_until(lambda: all(node.get("/", ada).status == 401 for node in nodes))
    epoch = last_entry(store)[1][b"epoch"]
    store.ask("XADD", STREAM, "*", "era", "what this version does not know")
    wait_until(lambda: last_entry(store)[1].get(b"epoch", epoch) != epoch)
    wait_until(lambda: all(node.gateway.stats()["feed"]["current"] for node in nodes))
    assert all(node.get("/", ada).status == 401 for node in nodes)
    assert gateway(config, echo=echo).get("/", ada).status == 401
