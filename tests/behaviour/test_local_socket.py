"""The verbs speak to the gateway that runs, by a socket in its state folder, whatever its file holds by now."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pylae import Gateway
from pylae.cli import main
from pylae.state import local_socket
from pylae.testing import FakeService
from support.exchanges import ask
from support.instance import EchoInstance
from support.peer import wait_until
from support.programs import run_python
from support.running import Process, Running, configure

BROKEN = {"not YAML": "routes: [", "a mistake": "routs: []\n", "a variable that is not set": "state: '${NOT_SET}'\n"}
VERBS = {
    "status": ["status"],
    "top": ["top", "--once"],
    "drain": ["drain", "all", "INSTANCE"],
    "undo": ["drain", "all", "INSTANCE", "--undo"],
    "purge": ["purge", "--all"],
}


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state of a user of its own, who says nothing of an admin API. The paths of sockets in it are short ones."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    for name in ("PYLAE_ADMIN", "PYLAE_ADMIN_TOKEN", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    return folder / "pylae"


Start = Callable[..., Process]


@pytest.fixture
def start(echo: EchoInstance) -> Iterator[Start]:
    """Starts `pylae run` in a folder, with `admin: false` unless that is said otherwise."""
    started: list[Process] = []

    def begin(folder: Path, *command: str, **settings: Any) -> Process:
        folder.mkdir(parents=True, exist_ok=True)
        started.append(Process(configure({"admin": False, **settings}, all=echo), folder, *command))
        return started[-1]

    yield begin
    for process in started:
        process.stop()


def pylae(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command, called in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "pylae", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **options,
    )


def works(folder: Path, *arguments: str, process: Process) -> None:
    """`pylae status` there tells of this gateway."""
    told = pylae(folder, "status", *arguments)
    assert told.returncode == 0, told.stderr
    assert f"listening on {process.address}, process {process.process.pid}" in told.stdout


SETTINGS = {
    "the default": {},
    "a state folder": {"state": "state"},
    "an admin API": {"admin": "127.0.0.1:0", "state": "state"},
}


@pytest.mark.parametrize("settings", SETTINGS)
def test_verbs_work_while_the_file_is_broken(start: Start, echo: EchoInstance, tmp_path: Path, settings: str) -> None:
    folder = tmp_path / "place"
    running = start(folder, **SETTINGS[settings])
    for text in BROKEN.values():
        running.file.write_text(text)
        works(tmp_path, "-c", str(running.file), process=running)
    for arguments in VERBS.values():
        told = pylae(folder, *(echo.address if one == "INSTANCE" else one for one in arguments))
        assert told.returncode == 0, told.stderr
    running.file.unlink()
    works(folder, process=running)


def test_tail_works_while_the_file_is_broken(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "place"
    running = start(folder)
    running.file.write_text(BROKEN["not YAML"])
    ended = threading.Event()

    def keep_asking() -> None:
        while not ended.is_set():
            ask(running.address, "/seen")

    asking = threading.Thread(target=keep_asking)
    asking.start()
    arguments = [sys.executable, "-m", "pylae", "tail"]
    with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout
        line = tail.stdout.readline()
        ended.set()
        asking.join()
        running.signal(signal.SIGTERM)
        tail.communicate(timeout=20)
        assert tail.returncode == 0, "it ends with the gateway"
    assert "GET /seen  all → all" in line


def test_a_reload_says_what_is_wrong_with_the_file(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "place"
    running = start(folder)
    running.file.write_text("limits: {max_head: 1}\nroutes: 5\n")
    told = pylae(folder, "reload")
    assert (told.returncode, told.stdout) == (1, "")
    first, *rest = told.stderr.splitlines()
    assert first == f"{running.file}:1:20: limits.max_head: must be at least 1024; found 1"
    assert any(line.startswith(f"{running.file}:2:9: routes: must be a list") for line in rest)
    works(folder, process=running)


def test_two_gateways_are_told_apart(start: Start, tmp_path: Path, home: Path) -> None:
    """By their folders, by their files and by their state folders."""
    one, two = (start(tmp_path / name) for name in ("one", "two"))
    for name, running in (("one", one), ("two", two)):
        works(tmp_path / name, process=running)
        works(tmp_path, "-c", f"{name}/pylae.yaml", process=running)
        (state,) = {path.parent for path in home.glob("*/admin.sock")} & set(_state_folders(running))
        works(tmp_path, "--state", str(state), process=running)
    told = pylae(tmp_path, "status")
    assert told.returncode == 3
    assert told.stderr.startswith("pylae: no gateway of this directory is running")
    assert all(str(running.file) in told.stderr for running in (one, two))


def _state_folders(running: Process) -> Iterator[Path]:
    """Where a process has sockets."""
    for line in Path(f"/proc/{running.process.pid}/net/unix").read_text().splitlines():
        if line.endswith("/admin.sock"):
            inode = line.split()[6]
            for entry in Path(f"/proc/{running.process.pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(entry.readlink()) == f"socket:[{inode}]":
                        yield Path(line.split()[-1]).parent


def test_several_of_one_file(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "place"
    running = []
    for name in ("a", "b"):
        monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / name))
        running.append(start(folder))
    monkeypatch.delenv("STATE_DIRECTORY")
    told = pylae(folder, "status")
    assert told.returncode == 3
    assert "2 gateways of pylae.yaml are running" in told.stderr
    assert all(str(tmp_path / name) in told.stderr for name in ("a", "b"))
    for name, one in zip(("a", "b"), running, strict=True):
        works(folder, "--state", f"../{name}", process=one)
    running[0].signal(signal.SIGTERM)
    running[0].wait()
    works(folder, process=running[1])


PROGRAM = """\
import logging
from pylae import Gateway, Route

logging.basicConfig(level=logging.INFO)
gateway = Gateway(listeners=["127.0.0.1:0"], workers=1, state="state")
gateway.add_route(Route(path="/", static_response={}, auth_required=False))
print("executed", flush=True)
gateway.run()
"""


@pytest.mark.parametrize("command", [("main.py",), ("-m", "pylae", "run", "main.py")])
def test_a_program_is_found_without_being_executed(start: Start, tmp_path: Path, command: tuple[str, ...]) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    (folder / "main.py").write_text(PROGRAM)
    running = start(folder, *command)
    running.file.unlink()
    for arguments in ([], ["-c", "main.py"]):
        told = pylae(folder, "status", *arguments)
        assert told.returncode == 0, told.stderr
        assert "executed" not in told.stdout
    works(tmp_path, "-c", "place/main.py", process=running)


@pytest.mark.parametrize("command", [("main.py",), ("-m", "pylae", "run", "main.py")])
def test_a_program_over_a_file_is_found_by_either(start: Start, tmp_path: Path, command: tuple[str, ...]) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    text = PROGRAM.replace(
        'Gateway(listeners=["127.0.0.1:0"], workers=1, state="state")', 'Gateway.from_file("pylae.yaml")'
    )
    (folder / "main.py").write_text(text)
    running = start(folder, *command)
    running.file.write_text(BROKEN["not YAML"])
    works(folder, process=running)
    works(tmp_path, "-c", "place/main.py", process=running)
    works(tmp_path, "-c", "place/pylae.yaml", process=running)


def test_killed_and_started_again(start: Start, tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "place"
    running = start(folder)
    running.signal(signal.SIGKILL)
    running.wait()
    (left,) = home.glob("*/admin.sock")
    told = pylae(folder, "status")
    assert (told.returncode, told.stdout) == (3, "")
    message, hint = told.stderr.splitlines()
    assert message == "pylae: no gateway is running with pylae.yaml"
    assert "pylae run pylae.yaml" in hint
    again = start(folder)
    works(folder, process=again)
    again.signal(signal.SIGTERM)
    assert again.wait() == 0
    assert not left.exists()
    assert pylae(folder, "status").returncode == 3


def test_where_no_gateway_runs_it_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = pylae(tmp_path, "status")
    assert (told.returncode, told.stderr.splitlines()[0]) == (3, "pylae: no gateway of this directory is running")
    (tmp_path / "pylae.yaml").write_text("routes: [")
    (tmp_path / "gateway.py").write_text("raise SystemExit('executed')\n")
    monkeypatch.chdir(tmp_path)
    for arguments in ([], ["-c", "gateway.py"], ["-c", "nowhere.yaml"]):
        for verb in (["status"], ["top"], ["tail"], ["drain", "a", "b:1"], ["purge", "--all"], ["reload"]):
            said = CliRunner().invoke(main, [*verb, *arguments], catch_exceptions=False)
            file = arguments[-1] if arguments else "pylae.yaml"
            assert (said.exit_code, said.stdout) == (3, ""), said.output
            message, hint = said.stderr.splitlines()
            assert message == f"pylae: no gateway is running with {file}"
            assert f"pylae run {file}" in hint
    told = pylae(tmp_path, "status", "--state", "nothing")
    assert (told.returncode, told.stderr.splitlines()[0]) == (3, "pylae: no gateway uses the state folder nothing")


def test_a_configured_address_is_asked_where_there_is_no_socket(start: Start, tmp_path: Path, home: Path) -> None:
    """As of a gateway whose state folder cannot hold one."""
    folder, token = tmp_path / "place", "t" * 20
    home.parent.mkdir(parents=True, exist_ok=True)
    home.write_text("in the way")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = "{}:{}".format(*free.getsockname())
    running = start(folder, admin={"address": address, "token": token})
    assert any("no socket in the state folder" in line for line in running.printed)
    running.read_until("admin API on")
    works(folder, process=running)
    works(tmp_path, "-c", str(running.file), process=running)


@pytest.mark.parametrize("length", [107, 108, 300])
def test_a_long_path(start: Start, tmp_path: Path, length: int) -> None:
    """The system takes 107 bytes for the address of a socket."""
    state = tmp_path / "s" / ("d" * max(1, length - len(str(tmp_path / "s" / "admin.sock")) - 1))
    running = start(tmp_path / "place", state=str(state))
    assert stat.S_ISSOCK((state / "admin.sock").stat().st_mode)
    works(tmp_path / "place", process=running)
    works(tmp_path, "--state", str(state), process=running)
    running.signal(signal.SIGTERM)
    assert running.wait() == 0
    assert [file.name for file in state.iterdir()] == ["history"]


def test_only_its_owner_can_use_it(start: Start, tmp_path: Path, home: Path) -> None:
    start(tmp_path / "place")
    (path,) = home.glob("*/admin.sock")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_others_are_not_answered_even_where_the_folder_is_open(start: Start, tmp_path: Path) -> None:
    """The kernel says who has connected; this is asked of a copy of the system's rights, which a mount may ignore."""
    state = tmp_path / "state"
    start(tmp_path / "place", state=str(state))
    if os.geteuid() != 0:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(PermissionError):
            patch.setattr(os, "geteuid", lambda: 12345)
            local_socket.connect(state, 10)
        return
    for folder in (state, *list(state.parents)[:-2]):
        folder.chmod(0o755)
    for mode, answer in ((0o666, "nothing"), (0o600, "PermissionError")):
        (state / "admin.sock").chmod(mode)
        program = STRANGER.format(path=str(state / "admin.sock"))
        assert run_python(program).stdout.strip() == answer


STRANGER = """
import os, socket
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect({path!r})
        peer.sendall(b"GET /status HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        print(peer.recv(100).decode() or "nothing")
except (BrokenPipeError, ConnectionResetError):
    print("nothing")
except OSError as error:
    print(type(error).__name__)
"""


def test_another_users_gateway_is_not_called_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> Any:
        raise PermissionError

    monkeypatch.setattr(local_socket, "connect", refused)
    for arguments in (["--state", str(tmp_path)], ["-c", str(tmp_path / "pylae.yaml")]):
        told = CliRunner().invoke(main, ["status", *arguments])
        assert told.exit_code == 3
        assert "belongs to another user" in told.output


def test_what_is_asked_of_pages_is_asked_here_too(start: Start, tmp_path: Path) -> None:
    """No token, but whatever a browser would be made to send is refused."""
    state = tmp_path / "state"
    start(tmp_path / "place", state=str(state))

    def status(*fields: str) -> bytes:
        with local_socket.connect(state, 30) as peer:
            lines = "".join(f"{field}\r\n" for field in (*fields, "Connection: close"))
            peer.sendall(f"GET /live HTTP/1.1\r\n{lines}\r\n".encode())
            return peer.recv(100).split(b" ")[1]

    assert status("Host: localhost") == b"200"
    assert status("Host: localhost", "Origin: http://foreign.example") == b"403"
    assert status("Host: localhost", "Sec-Fetch-Site: cross-site") == b"403"
    assert status() == b"400"


def test_a_second_gateway_with_the_folder_takes_it_over(start: Start, tmp_path: Path) -> None:
    """As where one is started while the one before is still draining."""
    state = tmp_path / "state"
    first = start(tmp_path / "place", state=str(state))
    second = start(tmp_path / "place", state=str(state))
    assert any("another gateway uses the state folder" in line for line in second.printed)
    works(tmp_path / "place", process=first)
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    second.read_until("uses the state folder now")
    works(tmp_path / "place", process=second)


def test_a_child_that_is_left_over_does_not_keep_the_socket(tmp_path: Path, start: Start) -> None:
    """A hook may fork; whoever outlives the gateway is no gateway."""
    folder = tmp_path / "place"
    folder.mkdir()
    (folder / "main.py").write_text(
        PROGRAM.replace("gateway.run()", "gateway.start()") + "import os, signal\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os.close(2)\n"  # whose end is waited for
        "    signal.pause()\n"
        "open('child', 'w').write(str(child))\n"
        "signal.pause()\n"
    )
    running = start(folder, "main.py")
    wait_until(lambda: (folder / "child").exists() and (folder / "child").read_text())
    child = int((folder / "child").read_text())
    try:
        running.signal(signal.SIGKILL)
        running.wait()
        told = pylae(folder, "status", "-c", "main.py")
        assert "no gateway is running with main.py" in told.stderr
        again = start(folder, "main.py")
        assert not any("another gateway has" in line for line in again.printed)
        works(folder, "-c", "main.py", process=again)
    finally:
        os.kill(child, signal.SIGKILL)


def test_in_a_program_it_comes_and_goes_with_the_gateway(service: FakeService, tmp_path: Path) -> None:
    """No socket is left, and what serves is imported when somebody asks."""
    state = tmp_path / "state"
    gateway = Gateway(**configure({"admin": False, "state": str(state)}, all=service))
    for _ in range(2):
        gateway.start()
        with local_socket.connect(state, 30) as peer:
            peer.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200 OK" in peer.recv(1000)
        gateway.stop(drain=False)
        assert [file.name for file in state.iterdir()] == ["history"]
    program = (
        "import sys, pylae\n"
        f"gateway = pylae.Gateway(listeners=['127.0.0.1:0'], admin=False, state={str(state)!r})\n"
        "gateway.start()\n"
        "gateway.stop()\n"
        "sys.exit('fastapi' in sys.modules or 'uvicorn' in sys.modules)\n"
    )
    assert run_python(program).returncode == 0


def test_gateways_of_tests_have_none(service: FakeService, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLAE_ADMIN", "off")
    running = Running(configure(all=service))
    running.stop()
    assert not home.exists()


@pytest.mark.parametrize("verb", [["check"], ["routes"], ["explain", "GET", "/x"]])
def test_verbs_on_a_file_find_it_by_themselves(verb: list[str], tmp_path: Path) -> None:
    told = pylae(tmp_path, *verb)
    assert told.returncode == 2
    message, hint = told.stderr.splitlines()
    assert message == "pylae: there is neither pylae.yaml nor gateway.py in this directory"
    assert f"pylae {verb[0]} FILE" in hint
    (tmp_path / "gateway.py").write_text(PROGRAM.replace("print", "repr").replace(", flush=True", ""))
    told = pylae(tmp_path, *verb)
    assert (told.returncode, "gateway.py" in told.stdout or "/" in told.stdout) == (0, True), told.stderr
    (tmp_path / "pylae.yaml").write_text(yaml.safe_dump(configure(all="http://127.0.0.1:9")))
    for file in ([], ["pylae.yaml"]):
        told = pylae(tmp_path, verb[0], *file, *verb[1:])
        assert (told.returncode, "all" in told.stdout or "pylae.yaml" in told.stdout) == (0, True), told.stderr
