"""The gateway's own log: levels by area and formats, by configuration, by reload, and live for a while."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from support.admin import Admin
from support.instance import EchoInstance
from support.running import Process

Start = Callable[..., Admin]
Run = Callable[..., Process]
QUERY = "GET /users/7?key=letmein HTTP/1.1\r\nHost: shop.test\r\nX-Request-Id: {id}\r\nConnection: close\r\n\r\n"


def ask(process: Process, name: str) -> None:
    """One request with this id."""
    with process.connect() as peer:
        peer.send(QUERY.format(id=name).encode())
        assert peer.read_answer().status == 200


def cli(process: Process, *arguments: str) -> str:
    """What `pylae` prints, in the directory of a gateway."""
    done = subprocess.run(
        [sys.executable, "-m", "pylae", *arguments],
        cwd=process.file.parent,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_json_is_an_object_per_line_with_area_and_steps_of_one_area(gateway_process: Run, echo: EchoInstance) -> None:
    process = gateway_process("log: {format: json, areas: {upstream: debug}}", all=echo)
    ask(process, "one")
    process.read_until("attempt over")
    lines: list[dict[str, Any]] = [json.loads(line) for line in process.printed]
    assert {line["area"] for line in lines if line["level"] == "debug"} == {"upstream"}
    step = next(line for line in lines if line["message"].startswith("attempt begun"))
    assert (step["level"], step["event"]) == ("debug", "step")
    assert step["fields"] == {"id": "one", "number": "1", "service": "all", "instance": echo.url}
    assert not [line for line in process.printed if "letmein" in line]
    listening = next(line for line in lines if "listening on" in line["message"])
    assert (listening["area"], listening["level"]) == ("listeners", "info")


def test_a_reload_changes_levels_and_format(gateway_process: Run, echo: EchoInstance) -> None:
    process = gateway_process("", all=echo)
    ask(process, "before")
    process.apply("log: {format: json, areas: {requests: debug}}", all=echo)
    ask(process, "between")
    process.read_until("exchange over")
    assert not [line for line in process.printed if "before" in line]
    assert json.loads(process.printed[-1])["fields"]["id"] == "between"
    process.apply("log: info", all=echo)
    ask(process, "after")
    # The first line of the next reload follows whatever that request has left.
    process.apply("", all=echo)
    assert not [line for line in process.printed if "after" in line]
    assert not process.printed[-1].startswith("{")


def test_the_command_changes_an_area_for_a_while_and_it_falls_back(gateway_process: Run, echo: EchoInstance) -> None:
    process = gateway_process("", all=echo)
    assert "upstream   info" in cli(process, "log")
    shown = cli(process, "log", "--level", "upstream=debug", "--for", "1h")
    (row,) = [line for line in shown.splitlines() if line.startswith("upstream")]
    assert row.split()[1] == "debug"
    assert row.split()[3] == "local"
    process.read_until("log: upstream=debug until")
    ask(process, "one")
    assert "debug: upstream: attempt begun id=one" in process.read_until("attempt begun")
    cli(process, "log", "--level", "upstream=debug", "--format", "json", "--for", "1s")
    process.read_until("log: format, upstream as configured again: the time is over")
    assert "upstream   info" in cli(process, "log")
    assert "nothing was changed" in cli(process, "log", "--reset")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--level", "loud"), "level"),
        (("--level", "upsteam=debug"), "areas"),
        (("--format", "xml"), "format"),
        (("--level", "debug", "--for", "2d"), "lasting"),
        (("--for", "1m"), "--for needs"),
        (("--reset", "--level", "debug"), "--reset goes alone"),
    ],
)
def test_what_cannot_be_is_refused(
    gateway_process: Run, echo: EchoInstance, arguments: tuple[str, ...], said: str
) -> None:
    process = gateway_process("", all=echo)
    command = [sys.executable, "-m", "pylae", "log", *arguments]
    done = subprocess.run(command, cwd=process.file.parent, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in (1, 2)
    assert said in done.stderr


def test_a_change_is_a_line_of_the_audit(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        order = {"areas": {"upstream": "debug"}, "lasting": "10m"}
        answer = api.http.put("/log", json=order)
        assert answer.status_code == 200, answer.text
        (change,) = answer.json()["changes"]
        assert (change["what"], change["value"], change["by"]) == ("upstream", "debug", "admin")
        assert api.get("/log")["areas"]["upstream"] == "debug"
        assert api.http.delete("/log").json() == {"changed": True}
        assert api.get("/log")["changes"] == []
        first, second = (line for line in api.get("/audit")["lines"] if line["path"] == "/log")
        told = {line["method"]: line["arguments"] for line in (first, second)}
        assert told == {"PUT": order, "DELETE": {}}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"lasting": "1m"},
        {"level": "trace"},
        {"areas": {"nothing": "debug"}},
        {"level": "debug", "lasting": 0},
        {"level": "debug", "lasting": "25h"},
        {"level": "debug", "for": "1m"},
    ],
)
def test_a_body_that_says_nothing_or_something_else_is_refused(
    admin: Start, echo: EchoInstance, body: dict[str, Any]
) -> None:
    with admin(all=echo) as api:
        assert api.http.put("/log", json=body).status_code == 422
        assert api.get("/log")["changes"] == []
