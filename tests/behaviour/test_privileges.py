"""`user` and `group`: a gateway that was started as root is not root when it serves."""

from __future__ import annotations

import os
import pwd
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from pylae import ConfigError, Gateway
from support.accounts import USER, need_root, open_folder, python_of_all
from support.admin import Admin
from support.exchanges import ask
from support.instance import EchoInstance
from support.peer import wait_until
from support.running import Process, configure

HOOKS = """
import os

from pylae.hooks import Response


def who(request):
    try:
        os.setuid(0)
        again = "root again"
    except PermissionError:
        again = "never again"
    return Response(f"{os.getresuid()} {os.getresgid()} {os.getgroups()} {again}")
"""
ME = pwd.getpwnam(USER)


@pytest.fixture
def folder() -> Iterator[Path]:
    need_root()
    with open_folder() as one:
        yield one


Start = Callable[..., Process]


@pytest.fixture
def start(folder: Path, echo: EchoInstance, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.delenv("XDG_STATE_HOME")
    started: list[Process] = []

    def begin(**settings: Any) -> Process:
        config = configure({"state": "state", "admin": "127.0.0.1:0", **settings}, all=echo)
        program, *command = python_of_all(folder / "stash")
        run = (*command, "-m", "pylae", "run", str(folder / "pylae.yaml"))
        started.append(Process(config, folder, *run, program=program))
        return started[-1]

    yield begin
    for one in started:
        one.stop()


def identities(process: Process) -> set[tuple[str, ...]]:
    """User ids, group ids, groups and capabilities of all threads."""
    found = set()
    for task in Path(f"/proc/{process.process.pid}/task").iterdir():
        status = (task / "status").read_text()
        ids = [re.search(rf"^{key}:\t(.*)$", status, re.MULTILINE) for key in ("Uid", "Gid", "Groups", "CapEff")]
        found.add(tuple(one[1].strip() for one in ids if one))
    return found


def test_every_thread_is_the_user_and_none_can_be_root_again(start: Start, folder: Path) -> None:
    (folder / "shop.py").write_text(HOOKS)
    routes = [{"path": "/who", "service": "all"}]
    process = start(user=USER, routes=routes, hooks=[{"on_request": "shop:who"}], workers=2)
    groups = os.getgrouplist(USER, ME.pw_gid)
    (found,) = identities(process)
    assert found[:2] == ("\t".join([str(ME.pw_uid)] * 4), "\t".join([str(ME.pw_gid)] * 4))
    assert (found[2].split(), int(found[3], 16)) == ([str(group) for group in groups], 0)
    answer = ask(process.address, "/who").text
    assert answer == f"{(ME.pw_uid,) * 3} {(ME.pw_gid,) * 3} {groups} never again"


def test_hook_hosts_are_the_user_and_so_are_those_that_take_their_place(start: Start, folder: Path) -> None:
    (folder / "shop.py").write_text(HOOKS)
    routes = [{"path": "/who", "service": "all"}]
    process = start(user=USER, routes=routes, hooks={"processes": 1, "use": [{"on_request": "shop:who"}]})
    groups = os.getgrouplist(USER, ME.pw_gid)
    who = f"{(ME.pw_uid,) * 3} {(ME.pw_gid,) * 3} {groups} never again"
    assert ask(process.address, "/who").text == who
    (forks,) = [
        int(child)
        for child in Path(f"/proc/{process.process.pid}/task").glob("*/children")
        for child in child.read_text().split()
    ]
    # With it all hosts end.
    os.kill(forks, signal.SIGKILL)
    wait_until(lambda: ask(process.address, "/who").status != 200)
    wait_until(lambda: ask(process.address, "/who").text == who)


def test_what_is_kept_belongs_to_the_user_and_outlives_a_restart(start: Start, folder: Path) -> None:
    log = folder / "log" / "access.log"
    log.parent.mkdir()
    settings = {"user": USER, "policies": {"access_log": {"output": str(log)}}}
    process = start(**settings)
    process.read_until("admin API on")
    state = folder / "state"
    token = (state / "admin-token").read_text()
    for file in (state, *state.iterdir(), log):
        assert file.stat().st_uid == ME.pw_uid, file
    assert ask(process.address).status == 200
    wait_until(lambda: log.read_text().count("\n") == 1)
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    again = start(**settings)
    again.read_until("admin API on")
    assert (state / "admin-token").read_text() == token
    assert ask(again.address).status == 200


def test_a_reload_as_the_user(start: Start, folder: Path) -> None:
    """Keys that only root can read were read at the start; a reload that needs them is refused and changes nothing."""
    authority = trustme.CA()
    pair = authority.issue_cert("gateway.test")
    key, cert = folder / "one.key", folder / "one.pem"
    pair.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    pair.cert_chain_pems[0].write_to_path(cert)
    listener = {"address": "127.0.0.1:0", "tls": {"cert": str(cert), "key": str(key)}}
    process = start(user=USER, listeners=["127.0.0.1:0", {**listener, "address": "127.0.0.2:0"}])
    config = yaml.safe_load(process.file.read_text())
    # Nobody has changed anything: that the key cannot be read now is no change either.
    process.signal(signal.SIGHUP)
    assert "one.key cannot be read: permission denied" in process.read_until("cannot be read")
    routes = [{"path": "/new", "static_response": {"status": 418}, "auth_required": False}]
    plain = {**config, "listeners": ["127.0.0.1:0"]}
    process.write({**plain, "routes": routes})
    process.read_until("configuration applied")
    assert ask(process.address, "/new").status == 418
    process.write({**plain, "listeners": ["127.0.0.1:0", "127.77.9.1:81"], "routes": []})
    process.read_until("cannot listen on 127.77.9.1:81: not permitted")
    assert ask(process.address, "/new").status == 418
    process.write({**plain, "user": "root", "routes": routes})
    assert f"user: stays {USER} until the gateway is started again" in process.read_until("until the gateway")


def test_a_log_folder_of_root(start: Start, folder: Path) -> None:
    logs = folder / "logs"
    logs.mkdir()
    (logs / "other.log").touch(0o600)
    process = start(user=USER, policies={"access_log": {"output": str(logs / "access.log")}})
    assert (logs / "access.log").stat().st_uid == ME.pw_uid
    assert ask(process.address).status == 200


@pytest.mark.parametrize(
    ("settings", "path", "words"),
    [
        ({"user": "no-such-user"}, "user", "there is no user no-such-user"),
        ({"user": USER, "group": "no-such-group"}, "group", "there is no group no-such-group"),
        ({"user": 987654}, "user", "the user 987654 has no entry, so its group is not known"),
        ({"group": "daemon"}, "group", "needs `user`"),
        ({"user": "a b"}, "user", "must be the name or the number of an account"),
    ],
)
def test_accounts_that_are_none(settings: dict[str, Any], path: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(yaml.safe_dump({"routes": [], **settings}))
    with pytest.raises(ConfigError) as raised:
        Gateway.from_file(file).check()
    (problem,) = raised.value.problems
    assert (problem.path, problem.line is not None) == (path, True)
    assert words in problem.message
    assert problem.hint


def test_only_root_can_become_somebody(folder: Path) -> None:
    file = folder / "pylae.yaml"
    as_nobody = ("setpriv", f"--reuid={USER}", f"--regid={ME.pw_gid}", "--clear-groups", "--")
    command = [*python_of_all(folder / "stash", *as_nobody), "-m", "pylae", "run", str(file)]
    environment = {name: value for name, value in os.environ.items() if name != "XDG_STATE_HOME"}

    def run(user: str) -> subprocess.CompletedProcess[str]:
        file.write_text(yaml.safe_dump({"user": user, "listeners": ["127.77.9.2:82"], "state": str(folder / "s")}))
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    refused = run("daemon")
    assert refused.returncode == 1
    assert f"only root can become daemon, and the gateway was started by the user {USER}" in refused.stderr
    # The same user is nothing to become; what fails then is the privileged port.
    same = run(USER)
    assert same.returncode == 3, same.stderr
    assert "only root" not in same.stderr


def test_a_state_folder_of_root_is_said_and_how_to_give_it_away(folder: Path, start: Start) -> None:
    (folder / "state").mkdir(mode=0o700)
    with pytest.raises(AssertionError) as raised:
        start(user=USER)
    assert f"the state folder cannot be used: {folder}/state does not belong to {USER}; chown -R" in str(raised.value)


def test_a_document_may_leave_it_out_and_not_change_it(admin: Callable[..., Admin], echo: EchoInstance) -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    with admin({"user": me}, all=echo) as one:
        shown = one.get("/config")
        assert shown.pop("user") == me
        for document, status in ((shown, 200), ({**shown, "user": me}, 200), ({**shown, "user": str(ME.pw_uid)}, 422)):
            answer = one.http.put("/config", json=document, headers={"If-Match": "*"})
            assert answer.status_code == status, answer.text
    (problem,) = answer.json()["problems"]
    assert (problem["path"], problem["message"]) == ("user", f"stays {me} until the gateway is started again")


def test_root_is_said(start: Start) -> None:
    process = start()
    process.read_until("admin API on")
    assert any("warning: the gateway and all hooks run as root" in line for line in process.printed)
    said = start(user="root")
    said.read_until("admin API on")
    assert not any("all hooks run as root" in line for line in said.printed)
