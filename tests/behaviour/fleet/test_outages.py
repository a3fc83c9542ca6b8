"""What becomes of nodes and roll-outs while the store is gone, and when somebody is killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pylae.fleet.records import COORDINATOR
from support.fleet import Node, Shop, Visitors, fleet
from support.peer import wait_until
from support.stores import Engine

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

PATIENT = 90.0
"""Seconds that a roll-out may take to end after an outage: leases end, others take over, and observe anew."""


def quick(engine: Engine) -> Engine:
    """The same store; who uses it gives up sooner."""
    return Engine(engine.name, engine.given(timeout="1s"), engine.folder, engine.server)


def ended(node: Node) -> str:
    """Waits for the end of the roll-out, and returns how that is."""
    return str(node.wait_for("done", "refused", "taken_back", "cancelled", patience=PATIENT)["stage"])


def agree(nodes: list[Node]) -> int:
    """Waits until all nodes have what all should have, and returns its number."""
    wait_until(lambda: all(node.me["in_force"] == node.fleet["head"] for node in nodes), patience=PATIENT)
    return int(nodes[0].fleet["head"])


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_traffic_goes_on_without_the_store(engine: Engine, services: Shop, tmp_path: Path, how: str) -> None:
    engine = quick(engine)
    assert engine.server is not None
    with fleet(engine, tmp_path, 3) as nodes:
        assert nodes[0].apply(services.config("one"), "--wait", "--now").exit_code == 0
        with Visitors(nodes) as visitors:
            assert nodes[0].apply(services.config("two", observe="20s")).exit_code == 0
            nodes[0].wait_for("observing")
            (engine.server.freeze if how == "frozen" else engine.server.kill)()
            try:
                for node in nodes:
                    node.said("roll-outs stand still")
                    assert not node.fleet["available"]
                    assert "what follows is old" in node.pylae("nodes").output
                # Longer than leases last, and than it would have been observed.
                threading.Event().wait(60)
                visitors.goes_on(300)
                assert sorted(node.me["in_force"] for node in nodes) == [1, 1, 2]
                refused = nodes[0].apply(services.config("three"))
                assert refused.exit_code == 3
            finally:
                (engine.server.thaw if how == "frozen" else engine.server.start)()
            for node in nodes:
                node.said("is available again")
            assert ended(nodes[0]) == "done"
            assert agree(nodes) == 2
            visitors.goes_on()
        assert not visitors.failures
        assert {one.status for one in visitors.seen} == {200}


@pytest.mark.parametrize("stage", ["checking", "admitting", "observing"])
@pytest.mark.parametrize("victim", ["coordinator", "first", "store"])
def test_somebody_is_killed(engine: Engine, services: Shop, tmp_path: Path, victim: str, stage: str) -> None:
    engine = quick(engine)
    assert engine.server is not None
    with fleet(engine, tmp_path, 3) as nodes, engine.connect() as store:
        assert nodes[0].apply(services.config("one"), "--wait", "--now").exit_code == 0
        names = [node.me["name"] for node in nodes]
        with Visitors(nodes) as visitors:
            visitors.goes_on()
            assert nodes[0].apply(services.config("two", observe="5s")).exit_code == 0
            later = ("checking", "admitting", "observing", "done")
            seen = nodes[1].wait_for(*later[later.index(stage) :])
            killed: int | None = None
            if victim == "store":
                engine.server.kill()
                engine.server.start()
            else:
                holder = store.get(COORDINATOR)
                name = (holder.value.decode() if holder else "") if victim == "coordinator" else seen["first"]
                killed = names.index(name) if name in names else 0
                nodes[killed].stop()
            living = [node for number, node in enumerate(nodes) if number != killed]
            how = ended(living[0])
            if killed is None:
                assert how == "done"
            head = agree(living)
            assert head == (2 if how == "done" else 1)
            visitors.goes_on()
        if killed is not None:
            again = Node(engine, nodes[killed].folder)
            try:
                again.has(head)
            finally:
                again.stop()
        assert not [one for one in visitors.failures if not one.startswith(f"node {killed}:")]
        assert {one.status for one in visitors.seen} == {200}


def test_a_start_without_the_store(engine: Engine, services: Shop, tmp_path: Path) -> None:
    engine = quick(engine)
    assert engine.server is not None
    with fleet(engine, tmp_path, 1) as [node]:
        assert node.apply(services.config("one"), "--wait", "--now").exit_code == 0
        copy = node.folder / "state" / "fleet.json"
        wait_until(copy.exists)
        assert copy.stat().st_mode & 0o777 == 0o600
    engine.server.kill()
    again: Node | None = None
    try:
        again = Node(engine, node.folder)
        assert "starts with its last good copy" in "".join(again.printed)
        with Visitors([again]) as visitors:
            visitors.goes_on()
        assert visitors.marks(0) == {"one"}
        (tmp_path / "new").mkdir()
        file = tmp_path / "new" / "pylae.yaml"
        file.write_bytes(node.file.read_bytes())
        command = [sys.executable, "-m", "pylae", "run", str(file)]
        new = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert new.returncode == 3 and "there is no last good copy in" in new.stderr
    finally:
        engine.server.start()
        if again is not None:
            try:
                again.said("is available again")
                assert again.apply(services.config("two"), "--wait", "--now").exit_code == 0
            finally:
                again.stop()


def test_what_was_taken_back_is_no_copy(engine: Engine, services: Shop, tmp_path: Path) -> None:
    engine = quick(engine)
    assert engine.server is not None
    with fleet(engine, tmp_path, 1) as [node]:
        assert node.apply(services.config("one"), "--wait", "--now").exit_code == 0
        assert node.apply(services.config("two", observe="10m")).exit_code == 0
        node.wait_for("observing")
        node.stop()
        engine.server.kill()
        try:
            again = Node(engine, node.folder)
            try:
                assert again.remote.get("/status")["revision"] == "1"
            finally:
                again.stop()
        finally:
            engine.server.start()
