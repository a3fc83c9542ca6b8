"""`deploy/systemd/pylae.service`: what systemd says of it, and whether a gateway lives under its restrictions."""

from __future__ import annotations

import json
import os
import pwd
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylae.config.models.config import Limits
from pylae.units import parse_duration
from support.accounts import USER, need_root, open_folder, python_of_all
from support.exchanges import ask
from support.instance import EchoInstance
from support.programs import program
from support.running import Process, configure
from support.units import analyze, settings

UNIT = Path(__file__).parents[2] / "deploy/systemd/pylae.service"
EXPOSED = 20
"""Tenths of what `systemd-analyze security` calls exposure: 2.0 of 10, where most services have more than 9."""
# What a shell cannot do: no memory that is writable and then executable (PR_SET_MDWE, prctl(2)), which an exec keeps.
REFUSE_WRITE_EXECUTE = """
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0):
    sys.exit(77)
os.execv(sys.argv[1], sys.argv[1:])
"""
HOOKS = """
import asyncio
import ctypes


async def wait(request):
    await asyncio.sleep(0)
    request.headers["X-Waited"] = str(ctypes.CDLL(None).getpid())
"""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a command that is there."""
    file = tmp_path / "pylae.service"
    text = UNIT.read_text(encoding="utf-8")
    file.write_text(text.replace("/opt/pylae/bin/pylae", str(Path(sys.executable).with_name("pylae"))))
    return file


def test_systemd_understands_it(unit: Path) -> None:
    assert "pylae.service" not in analyze("verify", str(unit))


def test_it_is_hardened(unit: Path) -> None:
    analyze("security", "--offline=true", f"--threshold={EXPOSED}", str(unit))


def test_it_gives_a_drain_its_time() -> None:
    given = parse_duration(f"{settings(UNIT)['TimeoutStopSec']}s")
    assert given.total_seconds() > Limits().drain_timeout.total_seconds() + 2


@pytest.fixture
def folder() -> Iterator[Path]:
    need_root()
    with open_folder() as one:
        yield one


def test_a_gateway_with_hooks_lives_under_it(folder: Path, echo: EchoInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user with one capability, no new privileges and no memory that becomes executable."""
    assert settings(UNIT)["MemoryDenyWriteExecute"] == "yes"
    state = folder / "state"
    state.mkdir(mode=0o700)
    account = pwd.getpwnam(USER)
    os.chown(state, account.pw_uid, account.pw_gid)
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    (folder / "shop.py").write_text(HOOKS)
    restricted = (
        *(program("setpriv", "util-linux"), f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}"),
        *("--clear-groups", "--inh-caps=-all,+net_bind_service", "--ambient-caps=-all,+net_bind_service"),
        *("--bounding-set=-all,+net_bind_service", "--no-new-privs", "--"),
    )
    first, *command = python_of_all(folder / "stash", *restricted)
    run = (*command, "-c", REFUSE_WRITE_EXECUTE, sys.executable, "-m", "pylae", "run", str(folder / "pylae.yaml"))
    # Nobody else has this address, so the port is free.
    listeners = ["127.0.0.1:0", "127.77.9.3:443"]
    config = configure({"listeners": listeners, "hooks": [{"on_request": "shop:wait"}]}, all=echo)
    process = Process(config, folder, *run, program=first)
    try:
        for address in (process.address, listeners[1]):
            assert "x-waited" in dict(json.loads(ask(address).body)["headers"])
        assert (state / "admin.sock").is_socket()
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.stop()
