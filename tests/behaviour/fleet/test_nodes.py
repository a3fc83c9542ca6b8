"""What nodes take from the store, and what they refuse."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from pylae.cli.report import Failure
from pylae.fleet import head
from pylae.fleet.records import NODES, ROLLOUT
from pylae.history.entry import Cause
from pylae.history.history import History
from pylae.store.store import Delete
from support.fleet import MARK, Node, Shop, fleet
from support.peer import wait_until
from support.running import Process
from support.stores import Engine

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def mark_of(node: Process) -> str | None:
    """The configuration that an answer of a node is from; None if it has none."""
    with node.connect() as client:
        client.send(b"GET /x HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        return client.read_answer().one(MARK)


def test_a_document_has_nothing_that_belongs_to_nodes(engine: Engine, services: Shop, tmp_path: Path) -> None:
    with fleet(engine, tmp_path, 1) as [node]:
        config = services.config("one")
        for key, value in {"listeners": ["127.0.0.1:1"], "admin": False, "state": "x", "workers": 3}.items():
            refused = node.apply({**config, key: value})
            assert refused.exit_code == 1
            assert f"{key}: belongs to each node" in refused.output
            assert f"such as {node.file}" in refused.output
        secret = node.apply({**config, "auth": {"jwt": {"algorithms": ["HS256"], "secret": "s" * 40}}})
        assert secret.exit_code == 1 and "auth.jwt.secret: a secret must not be written here" in secret.output
        assert "s" * 40 not in secret.output
        reference = node.apply({**config, "hosts": ["${NOBODY_LISTS_THIS}"]})
        assert reference.exit_code == 1 and "admin: {references: [NOBODY_LISTS_THIS]}" in reference.output
        code = node.apply({**config, "hooks": [{"on_request": "os:getcwd"}]})
        assert code.exit_code == 1 and "admin: {code: [os:getcwd]}" in code.output
        assert node.remote.get("/history")["entries"] == []
        assert node.pylae("history").exit_code == 0
        assert mark_of(node) is None


def test_one_refusal_ends_it_and_nothing_is_in_force_anywhere(
    engine: Engine, services: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = {"address": "127.0.0.1:0", "references": ["ONLY_HERE"]}
    with fleet(engine, tmp_path, 2, admin=admin) as nodes:
        assert nodes[0].apply(services.config("one"), "--wait", "--now").exit_code == 0
        monkeypatch.setenv("ONLY_HERE", "a.example")
        third = Node(engine, tmp_path / "third", admin=admin)
        try:
            third.has(1)
            refused = third.apply(services.config("two", hosts=["${ONLY_HERE}"]), "--wait")
            assert refused.exit_code == 1, refused.output
            assert "configuration 2 was refused" in refused.output
            assert "the environment variable ONLY_HERE is not set" in refused.output
            assert "configuration 1 stays in force" in refused.output
            for node in (*nodes, third):
                assert node.me["in_force"] == 1 and mark_of(node) == "one"
            listed = nodes[0].pylae("history").output
            assert "apply, refused" in listed
        finally:
            third.stop()


def test_a_node_that_cannot_follow_says_why_until_its_own_file_helps(
    engine: Engine, services: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAME_OF_THE_HOST", "gateway.test")
    config = services.config("one", hosts=["${NAME_OF_THE_HOST}"])
    listing = {"address": "127.0.0.1:0", "references": ["NAME_OF_THE_HOST"]}
    with fleet(engine, tmp_path, 1, admin=listing) as [node]:
        assert node.apply(config, "--wait", "--now").exit_code == 0
        late = Node(engine, tmp_path / "late", admin={"address": "127.0.0.1:0"})
        try:
            assert late.said("configuration 1 cannot be put in force")
            wait_until(lambda: len(node.fleet["nodes"]) == 2)
            shown = node.pylae("nodes").output
            assert "cannot follow" in shown and "a reference is allowed only where" in shown
            assert late.me["in_force"] == 0 and mark_of(late) is None
            late.write({**late.own, "admin": listing})
            late.signal(signal.SIGHUP)
            late.has(1)
            assert mark_of(late) == "one"
        finally:
            late.stop()


def test_a_file_that_changes_changes_what_belongs_to_the_node(engine: Engine, services: Shop, tmp_path: Path) -> None:
    with fleet(engine, tmp_path, 1) as [node]:
        assert node.apply(services.config("one"), "--wait", "--now").exit_code == 0
        node.write({**node.own, "routes": []})
        node.read_until("comes from the store, for all nodes")
        assert mark_of(node) == "one"
        node.write({**node.own, "listeners": [{"address": "127.0.0.1:0", "http2": True}]})
        node.read_until("configuration applied")
        assert mark_of(node) == "one"
        assert node.pylae("reload").exit_code == 0
        assert mark_of(node) == "one" and node.me["in_force"] == 1


_PROGRAM = """
from pylae import Gateway

gateway = Gateway.from_file("own.yaml")


@gateway.on_response
def sign(request, response):
    response.headers["x-signed"] = "yes"


gateway.add_route(name="added", prefix="/added", service="good", auth_required=False)
"""


def test_code_of_a_node_is_laid_over_what_all_have(engine: Engine, services: Shop, tmp_path: Path) -> None:
    with fleet(engine, tmp_path, 1) as [node]:
        folder = tmp_path / "program"
        folder.mkdir()
        (folder / "own.yaml").write_text(json.dumps(node.own))
        (folder / "gateway.py").write_text(_PROGRAM)
        program = Process({}, folder, "-m", "pylae", "run", "gateway.py")
        try:
            assert mark_of(program) is None
            assert node.apply(services.config("one"), "--wait", "--now").exit_code == 0
            wait_until(lambda: mark_of(program) == "one")
            with program.connect() as client:
                client.send(b"GET /added/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
                answer = client.read_answer()
            assert answer.status == 200 and answer.one("x-signed") == "yes"
            shown = node.pylae("nodes").output
            assert "adds in code: route added, hook" in shown
            # What its code needs is gone: it keeps what it has, and says why.
            other = services.config("two")
            other["services"]["best"] = other["services"].pop("good")
            other["routes"][0]["service"] = "best"
            refused = node.apply(other, "--wait", "--now")
            assert refused.exit_code == 1 and "good" in refused.output
            assert mark_of(program) == "one"
        finally:
            program.stop()


def test_one_at_a_time_and_the_one_can_be_cancelled(engine: Engine, services: Shop, tmp_path: Path) -> None:
    with fleet(engine, tmp_path, 2) as nodes:
        assert nodes[0].apply(services.config("one"), "--wait", "--now").exit_code == 0
        assert "unobserved, as was asked" in nodes[0].rollout["verdict"]
        assert nodes[0].pylae("apply", "--cancel").exit_code == 3
        assert nodes[0].apply(services.config("two", observe="10m")).exit_code == 0
        running = nodes[1].wait_for("observing")
        second = nodes[1].apply(services.config("three"))
        assert second.exit_code == 3 and "configuration 2 is being rolled out" in second.output
        assert "--cancel" in second.output
        cancelled = nodes[1].pylae("apply", "--cancel")
        assert cancelled.exit_code == 0 and "configuration 2 was cancelled: local has cancelled it" in cancelled.output
        for node in nodes:
            node.has(1)
            wait_until(lambda node=node: mark_of(node) == "one")
        assert running["number"] == 2
        third = nodes[1].apply(services.config("three"), "--wait", "--now")
        assert third.exit_code == 0 and "2 of 2 nodes have it" in third.output
        back = nodes[0].pylae("rollback", "1", "--wait", "--now", "--reason", "better before")
        assert back.exit_code == 0, back.output
        assert [mark_of(node) for node in nodes] == ["one", "one"]
        assert [one["number"] for one in nodes[0].remote.get("/history")["entries"]] == [4, 3, 2, 1]
        changes = nodes[0].remote.get("/history/3")["changes"]
        assert any(one["before"] == "one" and one["after"] == "three" for one in changes)


def test_a_change_is_of_what_all_nodes_have(engine: Engine, services: Shop, tmp_path: Path) -> None:
    with fleet(engine, tmp_path, 1, admin={"address": "127.0.0.1:0"}) as [node]:
        assert node.apply(services.config("one"), "--wait", "--now").exit_code == 0
        body = json.dumps(services.config("two")).encode()
        with pytest.raises(Failure, match="revision 7 is no longer that of the fleet, 1 is"):
            node.remote.post("/config", body, "PUT", match='"7"')
        assert node.remote.get("/status")["revision"] == "1"
        begun = node.remote.post("/config", body, "PUT", match='"1"', now="true")
        assert begun["rollout"] == 2
        node.has(2)
        assert node.remote.get("/config")["policies"] == {"transform": {"response": {"set": {MARK: "two"}}}}
        assert "listeners" not in node.remote.get("/config")


def test_who_writes_to_the_store_gets_nothing_of_the_node(
    engine: Engine, services: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_NODE", "s3cret")
    with fleet(engine, tmp_path, 1) as [node], engine.connect() as store:
        assert node.apply(services.config("one"), "--wait", "--now").exit_code == 0
        attacks = (
            services.config("${SECRET_OF_THE_NODE}"),
            services.config("${file:/etc/hostname}"),
            services.config("two", hooks=[{"on_request": "os:getcwd"}]),
            services.config("two", listeners=["0.0.0.0:1"]),
            services.config("two", admin={"address": "127.0.0.1:0", "references": ["SECRET_OF_THE_NODE"]}),
        )
        for attack in attacks:
            entry = History(store).append(attack, Cause("apply", "attacker"))
            assert store.txn([], [head.put(entry.number)])
            wait_until(lambda number=entry.number: node.me["target"] == number and node.me["problems"] != [])
            assert node.me["in_force"] == 1 and mark_of(node) == "one"
            assert "s3cret" not in json.dumps(node.fleet)
        # It goes on as soon as the head is one that it can have.
        assert store.txn([], [head.put(1)])
        wait_until(lambda: node.me["target"] == 1 and not node.me["problems"])


def test_values_that_nobody_has_written_and_a_store_without_any(engine: Engine, services: Shop, tmp_path: Path) -> None:
    with fleet(engine, tmp_path, 2) as nodes, engine.connect() as store:
        assert nodes[0].apply(services.config("one"), "--wait", "--now").exit_code == 0
        kept = store.get(ROLLOUT)
        assert kept is not None
        store.put(f"{NODES}{'0' * 16}", b"\xff")
        store.put(ROLLOUT, b'{"version": 1, "number": "all"}')
        for node in nodes:
            assert "fleet/rollout/latest in the store is not what" in node.said("roll-outs stand still")
        assert mark_of(nodes[0]) == "one"
        refused = nodes[0].apply(services.config("two"))
        assert refused.exit_code == 3 and "is not what this version of Pylae writes there" in refused.output
        store.put(ROLLOUT, kept.value)
        for node in nodes:
            node.said("is available again")
        store.txn([], [Delete(head.KEY), Delete(ROLLOUT)])
        wait_until(lambda: nodes[0].fleet["head"] == 0)
        assert [mark_of(node) for node in nodes] == ["one", "one"]
        # The history is still there, and its numbers go on.
        assert nodes[0].apply(services.config("two"), "--wait", "--now").exit_code == 0
        assert [node.me["in_force"] for node in nodes] == [2, 2]
