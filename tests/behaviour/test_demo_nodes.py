"""`pylae demo --nodes 3` as a person meets it: several gateways and a store, of which each may be killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pylae.demo.store import DemoStore, StoreError, find_server
from support.demo import DEADLINE, Demo, paste, running_demo, split, wait_until_ended
from support.peer import wait_until


@pytest.fixture(autouse=True)
def _server() -> None:
    """Without a server for the store there is nothing to try."""
    try:
        find_server()
    except StoreError as error:
        pytest.skip(error.hint)


def nodes(demo: Demo) -> dict[str, tuple[str, int]]:
    """Address and process of each node, as printed."""
    printed = "".join(demo.printed)
    found = re.findall(r"^  (node-\d)  (http://\S+)  process (\d+)$", printed, re.MULTILINE)
    return {name: (url, int(pid)) for name, url, pid in found}


def store(demo: Demo) -> int:
    """The process of the store, as printed."""
    printed = "".join(demo.printed)
    found = re.search(r"^The store that they share: valkey://127\.0\.0\.1:\d+  process (\d+)$", printed, re.MULTILINE)
    assert found
    return int(found[1])


def get_user(demo: Demo, url: str) -> int:
    """The status of a request to a node."""
    return split(demo.paste(f'curl -i {url}/api/users/1 -H "Authorization: Bearer $TOKEN"'))[0]


@pytest.mark.timeout(120)
def test_nodes_are_told_apart_and_may_be_killed() -> None:
    with running_demo("--nodes", "3", "--port", "0") as demo:
        running = nodes(demo)
        assert list(running) == ["node-1", "node-2", "node-3"]
        assert len({url for url, _ in running.values()}) == 3
        family = demo.family()
        assert set(family) >= {store(demo), *(pid for _, pid in running.values())}
        assert len(family) == 1 + 5 + 1 + 3
        for name, (url, _) in running.items():
            assert get_user(demo, url) == 200
            assert demo.read_until("GET /api/users/1  get-user").startswith(f"{name}  ")

        # What it says to try: many requests, who is there, and a kill.
        _, listed, _, kill, _ = demo.commands
        wait_until(lambda: set(running) <= set(paste(listed).split()))
        paste(kill)
        assert demo.read_until("was ended by SIGKILL").startswith("node-3 ")
        command = demo.read_until("pylae run").strip()
        assert [get_user(demo, running[name][0]) for name in ("node-1", "node-2")] == [200, 200]

        # And it may be started again by hand: the system has given its port to nobody.
        port = int(running["node-3"][0].rpartition(":")[2])
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        again = subprocess.Popen(["sh", "-c", f"exec env {command}"], stderr=subprocess.PIPE, text=True)
        try:
            assert again.stderr
            assert any("  serving " in line for line in again.stderr)
            assert get_user(demo, running["node-3"][0]) == 200
        finally:
            again.kill()
            again.communicate()

        watched = [os.pidfd_open(pid) for pid in demo.family()]
        directory = demo.configuration.parent
        demo.process.send_signal(signal.SIGTERM)
        assert demo.process.wait(DEADLINE) == 0
        wait_until_ended(watched)
        assert not directory.exists()


def test_a_limit_is_one_over_all_nodes() -> None:
    with running_demo("--nodes", "3", "--port", "0") as demo:
        # A node may hold the last one while another refuses.
        assert Counter(paste(demo.commands[0]).split()) == {"201": 10, "429": 5}


def test_what_one_node_revokes_the_others_refuse() -> None:
    with running_demo("--nodes", "2", "--port", "0") as demo:
        _, _, revoke, *_ = demo.commands
        assert "revoked\n" in (said := demo.paste(revoke))
        assert split(said.removeprefix("revoked\n"))[0] == 401


def test_a_demo_that_is_killed_leaves_no_node_and_no_store() -> None:
    with running_demo("--nodes", "2", "--port", "0") as demo:
        watched = [os.pidfd_open(pid) for pid in demo.family()]
        directory = demo.configuration.parent
        demo.process.kill()
        wait_until_ended(watched)
        assert not directory.exists()


def test_the_store_may_be_killed() -> None:
    with running_demo("--nodes", "2", "--port", "0") as demo:
        os.kill(store(demo), signal.SIGKILL)
        demo.read_until("The store was ended by SIGKILL")
        assert str(demo.configuration.parent / "store.conf") in demo.read_until("store.conf")
        assert [get_user(demo, url) for url, _ in nodes(demo).values()] == [200, 200]


def test_its_configuration_is_live_on_all_nodes() -> None:
    with running_demo("--nodes", "2", "--port", "0") as demo:
        text = demo.configuration.read_text()
        demo.configuration.write_text(text.replace("prefix: /api/payments", "prefix: /api/charges"))
        told = {demo.read_until("configuration applied").split()[0] for _ in range(2)}
        assert told == {"node-1", "node-2"}
        for url, _ in nodes(demo).values():
            assert split(paste(f"curl -i {url}/api/payments"))[0] == 404


def test_a_store_that_runs(tmp_path: Path) -> None:
    with DemoStore(tmp_path, list[int]().append) as given:
        options = ("--nodes", "2", "--port", "0", "--store", given.url)
        with running_demo(*options, env={"STORE_PASSWORD": given.password}) as demo:
            assert f"The store that they share: {given.url}\n" in demo.printed
            assert len(demo.family()) == 1 + 5 + 2
            assert not any("kill -STOP" in command for command in demo.commands)


def demonstrated(*options: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """A demo that cannot start."""
    env = {**os.environ, **({"PATH": path} if path is not None else {})}
    command = [sys.executable, "-m", "pylae", "demo", "--port", "0", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False, env=env)


def test_a_store_that_is_none() -> None:
    done = demonstrated("--store", "http://127.0.0.1:6379")
    assert done.returncode == 1
    assert "cluster.store: is not the URL of a store" in done.stderr
    assert "Traceback" not in done.stderr


def test_nodes_that_cannot_start_say_why(tmp_path: Path) -> None:
    """For example because another server has taken a port meanwhile."""
    from pylae.demo.nodes import NodeError, Nodes

    file = tmp_path / "pylae.yaml"
    file.write_text("listeners: nothing\n")
    with pytest.raises(NodeError, match=r"node-1 did not start\n.*listeners"), Nodes(file, ["127.0.0.1:0"], Deaf()):
        pytest.fail("it has started")


class Deaf:
    """Hears nothing."""

    def log(self, node: str, line: str) -> None:
        """Hears nothing of the log."""

    def exchange(self, node: str, exchange: object) -> None:
        """Hears nothing of requests."""

    def ended(self, node: str, code: int) -> None:
        """Hears nothing of the end."""
