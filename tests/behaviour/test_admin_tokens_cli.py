"""`pylae admin`: tokens and the audit from the terminal, as the user of the gateway and with a token."""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.instance import EchoInstance
from support.running import Process, configure


@dataclass
class Served:
    """A gateway, as its user and as others reach it."""

    here: tuple[str, ...]
    there: tuple[str, ...]
    token: str


def pylae(*words: str, token: str | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs a command, which must end with this code."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYLAE_ADMIN")}
    environment |= {"PYLAE_ADMIN_TOKEN": token} if token else {}
    command = [sys.executable, "-m", "pylae", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def served(gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path) -> Served:
    """A gateway that runs."""
    state = tmp_path / "state"
    process = gateway_process({"admin": "127.0.0.1:0", "state": str(state), **configure(all=echo)})
    address = process.said("admin API on").split()[-1]
    token = (state / "admin-token").read_text().strip()
    return Served(("--state", str(state)), ("--admin", address), token)


def test_tokens_and_audit_from_the_terminal(served: Served) -> None:
    state, there = served.here, served.there
    made = pylae("admin", "token", "create", "ci", "--scope", "operate", "--expires", "30d", *state)
    secret = made.stdout.strip()
    assert re.fullmatch(r"pylae_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", secret)
    assert "ci: operate, until" in made.stderr
    assert secret not in made.stderr

    assert "revoked" in pylae("revoke", "--user", "7", *there, token=secret).stdout
    refused = pylae("admin", "token", "create", "x", "--scope", "read", *there, token=secret, code=3)
    assert "this needs the scope `configure`, which the token ci has not" in refused.stderr

    listed = json.loads(pylae("admin", "token", "list", "--json", *state).stdout)
    assert [(one["name"], one["state"], one["by"]) for one in listed] == [("ci", "valid", "local")]
    assert listed[0]["last_used"] is not None
    table = pylae("admin", "token", "list", *state).stdout.splitlines()
    assert table[0].split() == ["NAME", "STATE", "SCOPES", "EXPIRES", "BY", "LAST", "USED"]
    assert table[1].startswith("ci")

    rotated = json.loads(pylae("admin", "token", "rotate", "ci", "--overlap", "0", "--json", *state).stdout)
    assert rotated["token"]["rotating"] is None
    assert "wrong" in pylae("status", *there, token=secret, code=3).stderr
    assert "healthy" in pylae("status", *there, token=rotated["secret"]).stdout
    assert "ci is revoked" in pylae("admin", "token", "revoke", "ci", *state).stdout
    pylae("status", *there, token=rotated["secret"], code=3)

    lines = [json.loads(one) for one in pylae("admin", "audit", "--json", *state).stdout.splitlines()]
    assert [(one["who"], one["method"], one["path"], one["status"]) for one in lines] == [
        ("local", "POST", "/tokens", 201),
        ("ci", "POST", "/revocations", 200),
        ("ci", "POST", "/tokens", 403),
        ("local", "POST", "/tokens/{name}/rotate", 200),
        ("local", "DELETE", "/tokens/{name}", 200),
    ]
    assert {one["user"] for one in lines if one["who"] == "local"} == {getpass.getuser()}
    assert lines[1]["arguments"] == {"user": "7", "ttl": "30d"}
    shown = pylae("admin", "audit", "-n", "1", *state).stdout
    assert re.search(rf"Z \S+ local \({getpass.getuser()}\) DELETE /tokens/{{name}} name=ci 200\n$", shown)
    assert (
        len(pylae("admin", "audit", "--who", "ci", "--path", "/rev", "--since", "1h", *state).stdout.splitlines()) == 1
    )
    assert pylae("admin", "audit", "--since", "2999-01-01", *state).stdout == ""
    assert "is no time" in pylae("admin", "audit", "--since", "soon", *state, code=2).stderr


def test_mistakes_are_said_with_what_to_do(served: Served) -> None:
    for words, said in (
        (("create", "x", "--scope", "all"), "a scope is read, operate, configure or register:SERVICE"),
        (("create", "admin", "--scope", "read"), "neither admin nor local"),
        (("create", "x", "--scope", "read", "--expires", "2000d"), "366"),
        (("create", "x", "--scope", "read", "--address", "here"), "10.0.0.0/8"),
    ):
        assert said in pylae("admin", "token", *words, *served.there, token=served.token, code=1).stderr
    for words in (("rotate", "nobody"), ("revoke", "nobody")):
        assert (
            "there is no valid token nobody"
            in pylae("admin", "token", *words, *served.there, token=served.token, code=3).stderr
        )
