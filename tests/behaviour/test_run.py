"""`pylae run` as a process: what it says, which signals it hears, and with what it exits."""

from __future__ import annotations

import contextlib
import http.client
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.peer import wait_until

DEADLINE = 30

CONFIGURATION = """\
listeners: ["127.0.0.1:{port}"]
services:
  users: {{instances: ["http://127.0.0.1:{port_of_service}"]}}
routes:
  - {{name: users, prefix: /users, service: users, auth_required: false}}
"""


class Run:
    """A running `pylae run`, and a way to wait for what it says."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pylae", "run", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
        )
        self.printed: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr or ():
            self._lines.put(line)
        self._lines.put(None)

    def read_until(self, words: str) -> str:
        """Waits for a line that contains the words."""
        while True:
            line = self._lines.get(timeout=DEADLINE)
            assert line is not None, f"ended without {words!r} after: {''.join(self.printed)}"
            self.printed.append(line)
            if words in line:
                return line

    def end(self) -> None:
        """Kills it if it is still there."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        if self.process.stderr:
            self.process.stderr.close()


@contextlib.contextmanager
def running(file: Path, *arguments: str) -> Iterator[tuple[Run, str]]:
    """Runs a configuration and gives the address that it listens on."""
    run = Run(*arguments, cwd=file.parent)
    try:
        found = re.search(r"127\.0\.0\.1:\d+", run.read_until("listening on"))
        assert found
        yield run, found[0]
    finally:
        run.end()


def status(address: str, path: str) -> int:
    """The status of one GET."""
    connection = http.client.HTTPConnection(address, timeout=DEADLINE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A configuration whose only instance refuses connections."""
    file = tmp_path / "pylae.yaml"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        file.write_text(CONFIGURATION.format(port=0, port_of_service=unused.getsockname()[1]))
        yield file


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_0(file: Path, number: signal.Signals) -> None:
    with running(file) as (run, address):
        assert status(address, "/users") == 502
        assert status(address, "/nothing") == 404
        run.process.send_signal(number)
        run.read_until("stopping")
        assert run.process.wait(DEADLINE) == 0


def test_a_changed_file_is_applied_and_a_bad_one_is_not(file: Path) -> None:
    with running(file, file.name) as (run, address):
        good = file.read_text()
        file.write_text(good.replace("prefix: /users", "prefix: /people"))
        run.read_until("configuration applied")
        assert (status(address, "/users"), status(address, "/people")) == (404, 502)
        file.write_text(good.replace("prefix: /users", "prefxi: /users"))
        run.read_until("was not applied")
        run.read_until("pylae.yaml:5:")
        assert status(address, "/people") == 502
        file.write_text(good)
        run.read_until("configuration applied")
        assert status(address, "/users") == 502


def test_hangup_reads_the_file_again(file: Path) -> None:
    with running(file) as (run, _):
        run.process.send_signal(signal.SIGHUP)
        run.read_until("configuration applied")


def test_python_does_not_look_for_cycles_in_what_lasts(file: Path) -> None:
    (file.parent / "settled.py").write_text(
        "import gc\n\nfrom pylae import Response\n\n\ndef count(request):\n"
        "    return Response('', 200 if gc.isenabled() and gc.get_freeze_count() > 10_000 else 418)\n"
    )
    file.write_text(f"{file.read_text()}hooks: [{{on_request: 'settled:count'}}]\n")
    with running(file) as (run, address):
        # A start and an apply end after what they print.
        wait_until(lambda: status(address, "/users") == 200)
        run.process.send_signal(signal.SIGHUP)
        run.read_until("configuration applied")
        wait_until(lambda: status(address, "/users") == 200)


def test_a_port_in_use_is_a_runtime_failure(file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file.write_text(file.read_text().replace('"127.0.0.1:0"', f'"127.0.0.1:{port}"'))
        run = Run(cwd=file.parent)
        try:
            assert run.process.wait(DEADLINE) == 3
            assert str(port) in run.read_until("pylae: ")
            assert not [line for line in run.printed if "Traceback" in line]
        finally:
            run.end()


def test_a_bad_configuration_is_not_run(file: Path) -> None:
    file.write_text(file.read_text().replace("service: users", "service: usres"))
    run = Run(cwd=file.parent)
    try:
        assert run.process.wait(DEADLINE) == 1
        run.read_until("pylae.yaml:5:")
    finally:
        run.end()


def test_a_program_is_run_by_its_name_alone(tmp_path: Path) -> None:
    program = tmp_path / "gateway.py"
    program.write_text(
        "from pylae import Gateway, Route\n"
        "gateway = Gateway(listeners=['127.0.0.1:0'])\n"
        "gateway.add_route(Route(path='/users', service_url='http://127.0.0.1:9', auth_required=False))\n"
        "gateway.run()\n"
    )
    with running(program) as (run, address):
        assert status(address, "/nothing") == 404
        run.process.send_signal(signal.SIGTERM)
        assert run.process.wait(DEADLINE) == 0


BAD_PROGRAMS = {
    "no service": ("gateway.add_route(Route(path='/users', service='nothing'))", 1, "gateway.py:3: "),
    "bad pattern": (
        "gateway.add_route(Route(pattern='^/(?=a)', service_url='http://127.0.0.1:9'))",
        1,
        "gateway.py:3: ",
    ),
    "port in use": ("gateway = Gateway(listeners=['127.0.0.1:{port}'])", 3, "pylae: "),
}


@pytest.mark.parametrize("name", BAD_PROGRAMS)
def test_a_program_that_is_run_by_its_name_fails_as_the_command_does(name: str, tmp_path: Path) -> None:
    line, code, beginning = BAD_PROGRAMS[name]
    program = tmp_path / "gateway.py"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = line.replace("{port}", str(taken.getsockname()[1]))
        program.write_text(
            f"from pylae import Gateway, Route\ngateway = Gateway(listeners=['127.0.0.1:0'])\n{line}\ngateway.run()\n"
        )
        for command in ([sys.executable, "gateway.py"], [sys.executable, "-m", "pylae", "run", "gateway.py"]):
            done = subprocess.run(
                command,
                cwd=tmp_path,
                env={**os.environ, "PYLAE_ADMIN": "off"},
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
            assert done.returncode == code, done.stderr
            assert beginning in done.stderr
            assert "Traceback" not in done.stderr


def test_without_a_file_it_says_what_it_looked_for(tmp_path: Path) -> None:
    run = Run(cwd=tmp_path)
    try:
        assert run.process.wait(DEADLINE) == 2
        run.read_until("there is neither pylae.yaml nor gateway.py in this directory")
        run.read_until("hint: ")
    finally:
        run.end()
