"""Nobody waits for whoever reads the log: standard error and standard output are full pipes here."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.exchanges import ask
from support.instance import EchoInstance
from support.peer import Peer, wait_until
from support.pipes import FullPipe, Silent
from support.running import configure

STDERR = 'pylae_log_dropped_total{log="stderr"}'
HANDLERS = 'pylae_log_dropped_total{log="handlers"}'
PROGRAM = """
import logging
from pylae import Gateway
logging.basicConfig(level=logging.DEBUG)
Gateway.from_file("pylae.yaml").run()
"""


@pytest.fixture
def pipe() -> Iterator[FullPipe]:
    with FullPipe() as full:
        yield full


def serves_reloads_and_ends(gateway: Silent, config: dict[str, Any]) -> None:
    """What operators need of it while nobody reads."""
    assert ask(gateway.address).status == 200
    gateway.write({**config, "routes": [{"path": "/new", "static_response": {"status": 418}, "auth_required": False}]})
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: ask(gateway.address, "/new").status == 418)
    assert gateway.end() == 0


def talk(gateway: Silent, until: str) -> None:
    """Has it write to its log until records are dropped."""
    with Peer.connect(gateway.address) as peer:
        while gateway.metric(until) == 0:
            for _ in range(100):
                peer.send(b"GET /" + b"x" * 4000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                assert peer.read_answer().status == 200


def test_standard_error(tmp_path: Path, pipe: FullPipe, echo: EchoInstance) -> None:
    config = configure(all=echo)
    gateway = Silent(config, tmp_path, stderr=pipe.writer)
    try:
        serves_reloads_and_ends(gateway, config)
    finally:
        gateway.stop()


def test_steps_of_the_data_plane_are_dropped_and_counted_and_it_is_said(
    tmp_path: Path, pipe: FullPipe, echo: EchoInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYLAE_LOG", "debug")
    config = configure(all=echo)
    gateway = Silent(config, tmp_path, stderr=pipe.writer)
    try:
        talk(gateway, STDERR)
        text = pipe.read("were dropped here")
        dropped = re.search(r"^warning: (\d+) lines for standard error were dropped here", text, re.MULTILINE)
        assert dropped
        assert 0 < int(dropped[1]) <= gateway.metric(STDERR)
        pipe.fill()
        serves_reloads_and_ends(gateway, config)
    finally:
        gateway.stop()


def test_an_access_log_on_standard_output(tmp_path: Path, pipe: FullPipe, echo: EchoInstance) -> None:
    config = {**configure(all=echo), "policies": {"access_log": {"output": "stdout"}}}
    gateway = Silent(config, tmp_path, stdout=pipe.writer)
    try:
        talk(gateway, 'pylae_access_log_lines_total{output="stdout",result="dropped"}')
        serves_reloads_and_ends(gateway, config)
    finally:
        gateway.stop()


def test_handlers_of_the_program_itself(tmp_path: Path, pipe: FullPipe, echo: EchoInstance) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    config = configure(all=echo)
    gateway = Silent(config, tmp_path, str(program), stderr=pipe.writer)
    try:
        assert ask(gateway.address).status == 200
        for number in range(3):
            gateway.write({**config, "routes": [{"path": f"/{number}", "service": "all", "auth_required": False}]})
            gateway.process.send_signal(signal.SIGHUP)
            wait_until(lambda number=number: ask(gateway.address, f"/{number}").status == 200)  # type: ignore[misc]
        # The library's own end waits for a handler that waits: a reader comes back in the meantime. Which of the
        # threads that wait for the handler writes first is not said.
        gateway.process.send_signal(signal.SIGTERM)
        pipe.read("configuration applied", "stopping; exchanges in flight may finish")
        assert gateway.process.wait(30) == 0
    finally:
        gateway.stop()


def test_what_fails_at_the_start_is_no_reason_to_wait(tmp_path: Path, pipe: FullPipe) -> None:
    (tmp_path / "pylae.yaml").write_text("routs: []\n")
    command = [sys.executable, "-m", "pylae", "run", "pylae.yaml"]
    assert subprocess.run(command, cwd=tmp_path, stderr=pipe.writer, timeout=30, check=False).returncode == 1
