"""`pylae doctor`: what it sees of the machine, the configuration and the gateway that runs."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pylae.doctor import machine
from pylae.doctor.ports import owners_of
from support.instance import EchoInstance
from support.running import Process

SECRET = "a-secret-that-nobody-is-to-see-anywhere"
CONFIG: dict[str, Any] = {
    "listeners": ["127.0.0.1:0"],
    "state": "state",
    "admin": "127.0.0.1:0",
    "auth": {"jwt": {"secret": SECRET}},
    "services": {"hidden-name": {"instances": ["http://hidden.internal:9001"]}},
    "routes": [{"name": "hidden-route", "path": "/hidden-path", "service": "hidden-name", "cors": {}}],
}
Document = dict[str, Any]


def doctor(folder: Path, *arguments: str, **env: str) -> tuple[int, Document]:
    """The exit code, and what it says as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "pylae", "doctor", *arguments, "--json"],
        cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def of(document: Document, name: str) -> list[tuple[str, str]]:
    """State and message of the results of this name."""
    return [(one["state"], one["message"]) for one in document["results"] if one["name"] == name]


def write(folder: Path, **changes: Any) -> None:
    (folder / "pylae.yaml").write_text(yaml.safe_dump({**CONFIG, **changes}))
    (folder / "pylae.yaml").chmod(0o600)


def test_all_is_well(tmp_path: Path) -> None:
    write(tmp_path)
    code, found = doctor(tmp_path)
    assert (code, found["ok"]) == (0, True), found
    assert of(found, "configuration")[0] == ("ok", "pylae.yaml: 1 route, 1 service")
    assert of(found, "listener") == [("ok", "127.0.0.1:0: the system will choose a port")]
    assert of(found, "state folder")[0][0] == "ok"
    assert {one["state"] for one in found["results"] if one["name"] == "engine"} == {"ok"}
    assert found["configuration"]["policies"] == "authentication, cors"
    assert {"Pylae", "engine", "Python", "system", "clock", "file descriptors"} <= found["facts"].keys()


def test_collectors_that_answer_and_that_do_not(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there, socket.create_server(("127.0.0.1", 0)) as gone:
        here, away = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in (there, gone))
        gone.close()
        write(tmp_path, telemetry={"traces": f"{here}/{SECRET}", "logs": away})
        code, found = doctor(tmp_path)
    assert code == 0, "a gateway starts without them"
    assert of(found, "collector of traces") == [("ok", f"{here} accepts connections")]
    assert of(found, "collector of logs") == [("warning", f"{away} cannot be reached: Connection refused")]
    assert SECRET not in json.dumps(found)


def test_what_people_read_ends_with_the_code_of_the_worst(tmp_path: Path) -> None:
    write(tmp_path, routes=[{"path": "relative"}])
    done = subprocess.run(
        [sys.executable, "-m", "pylae", "doctor"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "FAILURE  configuration: pylae.yaml:" in done.stdout
    assert "hint: `pylae check pylae.yaml` shows all of them" in done.stdout
    assert "\x1b" not in done.stdout


def test_without_a_configuration_the_defaults_count(tmp_path: Path) -> None:
    _, found = doctor(tmp_path)
    assert of(found, "configuration")[0][0] == "warning"
    assert of(found, "listener")[0][1].startswith("127.0.0.1:8080")


def test_an_address_that_somebody_has(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert owners_of(taken.getsockname()[1]) == [os.getpid()]
        write(tmp_path, listeners=[address], admin=address)
        code, found = doctor(tmp_path)
        assert code == 1
        (listener,), (admin,) = of(found, "listener"), of(found, "admin API")
        assert listener[0] == admin[0] == "failure"
        assert listener[1].startswith(f"{address} is in use by process {os.getpid()} (")
        # Where nothing is said about the admin API, a gateway serves without it.
        (tmp_path / "pylae.yaml").write_text(yaml.safe_dump({key: CONFIG[key] for key in CONFIG if key != "admin"}))
        code, found = doctor(tmp_path, PYLAE_ADMIN=address)
        assert (code, of(found, "admin API")[0][0]) == (0, "warning")
    write(tmp_path, listeners=[address])
    code, found = doctor(tmp_path)
    assert (code, of(found, "listener")) == (0, [("ok", f"{address} is free")])


def test_an_address_that_this_machine_does_not_have(tmp_path: Path) -> None:
    write(tmp_path, listeners=["192.0.2.1:8080"])
    code, found = doctor(tmp_path)
    assert (code, of(found, "listener")) == (
        1,
        [("failure", "no interface of this machine has the address 192.0.2.1:8080")],
    )


def test_the_gateway_that_runs_has_its_addresses_rightly(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path
) -> None:
    running = gateway_process({"state": str(tmp_path / "state")}, all=echo)
    config = yaml.safe_load(running.file.read_text())
    running.file.write_text(yaml.safe_dump({**config, "listeners": [running.address]}))
    code, found = doctor(running.file.parent)
    said = f"{running.address} is used by the running gateway of this configuration (process {running.process.pid})"
    assert (code, of(found, "listener")) == (0, [("ok", said)])


@pytest.mark.parametrize("name", ["admin-token", "applied.json"])
def test_a_secret_that_others_can_read(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / name).write_text("{}")
    (tmp_path / "state" / name).chmod(0o644)
    code, found = doctor(tmp_path)
    secret = tmp_path / "state" / name
    assert (code, of(found, "secret")[0]) == (1, ("failure", f"other users can read or change {secret}"))
    secret.chmod(0o600)
    assert of(doctor(tmp_path)[1], "secret")[0] == ("ok", f"only its owner can read {secret}")


def test_a_state_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    write(tmp_path, state="file")
    code, found = doctor(tmp_path)
    assert (code, of(found, "state folder")) == (1, [("failure", f"{tmp_path / 'file'} is not a folder")])


def test_few_descriptors(tmp_path: Path) -> None:
    write(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pylae", "doctor", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
    )  # fmt: skip
    ((state, text),) = of(json.loads(done.stdout), "descriptors")
    assert (done.returncode, state) == (0, "warning")
    assert text == "256 allowed, too few for limits.max_connections 10000: fewer will be admitted"


def test_a_clock_that_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 86_400.0)
    (result,) = machine._clock()
    assert result.state == "failure"
    assert "before Pylae or Python were installed" in result.message


@pytest.mark.parametrize(("kept", "state"), [(True, "ok"), (None, "ok"), (False, "warning")])
def test_a_clock_that_nobody_keeps_right(monkeypatch: pytest.MonkeyPatch, kept: bool | None, state: str) -> None:
    monkeypatch.setattr(machine, "_is_synchronised", lambda: kept)
    assert [result.state for result in machine._clock()] == [state]


def test_the_report_has_no_secret_name_address_or_path(tmp_path: Path) -> None:
    write(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pylae", "doctor", "--report"],
        cwd=tmp_path,
        env={**os.environ, "PYLAE_ADMIN_TOKEN": SECRET, "JWT_SECRET": SECRET},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    report = done.stdout
    for hidden in (SECRET, "hidden", str(tmp_path), "127.0.0.1", os.path.expanduser("~")):  # noqa: PTH111
        assert hidden not in report
    for told in ("| Python | ", "| system | Linux", "| routes | 1 |", "JWT_SECRET", "- ok: listener", "rustls"):
        assert told in report
