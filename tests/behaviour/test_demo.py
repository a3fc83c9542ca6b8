"""`pylae demo` as a person meets it: start it, paste its six commands, press Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import httpx
import pytest

from support.demo import DEADLINE, READY, paste, running_demo, split, wait_until_ended
from support.oidc_provider import follow
from support.programs import run_python


def test_the_six_commands_work_and_ctrl_c_leaves_nothing() -> None:
    with running_demo("--port", "0") as demo:
        assert all(len(command) < 160 + len(str(demo.configuration)) for command in demo.commands)
        get_user, register, order, list_users, delete, explain = demo.commands
        status, head, body = split(demo.paste(get_user))
        assert (status, json.loads(body)["id"]) == (200, 1)
        assert "x-request-id: " in head
        assert "x-content-type-options: nosniff" in head
        assert "ratelimit-policy: " in head
        status, _, body = split(demo.paste(register))
        assert (status, json.loads(body)["email"]) == (201, "edsger@example.com")
        status, head, body = split(demo.paste(order))
        made = json.loads(body)
        assert (status, made["payment"]["status"], made["notification"]["user_id"]) == (201, "approved", 1)
        status, _, body = split(demo.paste(list_users))
        assert (status, len(json.loads(body)["users"])) == (200, 4)
        status, head, body = split(demo.paste(list_users.replace("$ADMIN", "$TOKEN")))
        assert (status, json.loads(body)["status"]) == (403, 403)
        assert "content-type: application/problem+json" in head
        status, head, _ = split(demo.paste(get_user.replace("Authorization: Bearer $TOKEN", "X-Nothing: 1")))
        assert status == 401
        assert "www-authenticate: bearer" in head
        status, head, _ = split(demo.paste(delete))
        assert status == 405
        assert re.search(r"^allow: .*\bget\b", head, re.MULTILINE)
        told = demo.paste(explain)
        assert "Route get-user" in told
        assert "weighted_round_robin" in told
        assert "jwt lets user 1 (customer) pass" in told
        token = demo.exports.split()[1].partition("=")[2]
        assert token not in told

        status, head, _ = split(demo.paste(f"{get_user} -H 'Origin: https://shop.example'"))
        assert "access-control-allow-origin: *" in head

        # The log tells them, and what the three services and the gateway say of the order has one request id.
        paths = ("POST /payments ", "POST /notifications ", "POST /api/orders  (", "POST /api/orders  orders → ")
        told_of = dict[str, str]()
        # Each has a way of its own to the output: which line comes first is not certain.
        while len(told_of) < len(paths):
            line = demo.read_until(" ")
            told_of |= {path: line for path in paths if path in line}
        assert len({line.split()[-1] for line in told_of.values()}) == 1
        followed = "".join(demo.printed).partition(READY)[2].splitlines()[1:]
        one_kind = re.compile(r"\d\d:\d\d:\d\d  (\d{3} +\d+\.\d ms  [A-Z]+ /\S* .*|(?!\{).*)")
        assert [line for line in followed if line and not one_kind.fullmatch(line)] == []
        logged = json.loads((demo.configuration.parent / "access.log").read_text().splitlines()[0])
        assert (logged["status"], logged["route"], logged["path"]) == (200, "get-user", "/api/users/1")

        authorized = '-H "Authorization: Bearer $TOKEN"'
        status, _, body = split(demo.paste(f"curl -i '{demo.gateway}/api/payments?user_id=1' {authorized}"))
        assert (status, [entry["order_id"] for entry in json.loads(body)["payments"]]) == (200, [made["id"]])
        status, _, body = split(demo.paste(f"curl -i {demo.gateway}/api/notifications {authorized}"))
        assert (status, len(json.loads(body)["notifications"])) == (200, 1)
        served = [re.search(r"x-served-by: (\S+)", split(demo.paste(get_user))[1]) for _ in range(6)]
        assert {found[1] for found in served if found} == {"users-1", "users-2"}

        family = demo.family()
        assert len(family) == 6
        watched = [os.pidfd_open(pid) for pid in family]
        directory = demo.configuration.parent
        assert directory.is_dir()
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(DEADLINE) == 0
        wait_until_ended(watched)
        assert not directory.exists()


def test_a_login() -> None:
    """Two roles: a customer is refused what an admin gets."""
    with running_demo("--port", "0", "--login") as demo:
        said = "".join(demo.printed)
        assert f"{demo.gateway}/oauth2/logout" in said
        assert "root           user 3, role admin" in said
        for account, status in (("ada", 403), ("root", 200)):
            with httpx.Client(trust_env=False, verify=False, timeout=DEADLINE) as browser:
                page = follow(browser, f"{demo.gateway}/api/users").answer
                assert f'value="{account}"' in page.text
                sent = browser.post(str(page.url), data={"sub": account})
                last = follow(browser, sent.headers["Location"]).answer
                assert (str(last.url), last.status_code) == (f"{demo.gateway}/api/users", status)
                assert browser.get(f"{demo.gateway}/api/users/1").status_code == 200
        # The commands work as they do without it.
        assert split(demo.paste(demo.commands[0]))[0] == 200
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(DEADLINE) == 0


def test_a_login_that_cannot_be() -> None:
    done = run_python(WITHOUT_THE_PACKAGE)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (3, "  hint: pip install 'pylae[demo]'")
    done = run_python('from pylae.cli import main; main(["demo", "--login", "--nodes", "2"])')
    assert (done.returncode, done.stderr.splitlines()[-1]) == (3, "  hint: leave out --nodes and --store")


def test_a_demo_that_is_killed_leaves_nothing() -> None:
    with running_demo("--port", "0") as demo:
        watched = [os.pidfd_open(pid) for pid in demo.family()]
        directory = demo.configuration.parent
        demo.process.kill()
        wait_until_ended(watched)
        assert not directory.exists()


def test_the_dashboard_comes_and_goes_with_it() -> None:
    with running_demo("--port", "0", "--dashboard") as demo:
        address = demo.read_until("The dashboard: ").split()[-1]
        assert httpx.get(f"{address}/login", verify=False).status_code == 200
        descriptors = [os.pidfd_open(process) for process in demo.family()]
        os.kill(demo.process.pid, signal.SIGINT)
        wait_until_ended(descriptors)
    assert "/enter/" not in "".join(demo.printed), "nobody reads a pipe at once"


def test_its_configuration_is_live() -> None:
    with running_demo("--port", "0") as demo:
        text = demo.configuration.read_text()
        demo.configuration.write_text(text.replace("prefix: /api/payments", "prefix: /api/charges"))
        demo.read_until("configuration applied")
        assert split(paste(f"curl -i {demo.gateway}/api/payments"))[0] == 404


def test_a_taken_port() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "pylae", "demo", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "  hint: --port 0 picks a free one"
    assert f"port {port} of 127.0.0.1" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_services_start(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pylae", "demo", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Starting ")
    process.send_signal(number)
    # The pipe ends when the last service has closed its end of it.
    rest = process.stdout.read()
    assert process.wait(DEADLINE) in (0, 130, -number)
    assert "Traceback" not in rest
    process.stdout.close()


WITHOUT_THE_PACKAGE = """
import sys
from pylae.cli import main

sys.modules["oidc_provider_mock"] = None
main(["demo", "--login"])
"""

# Ctrl-C arrives while the gateway is imported, in a finalizer, whose exceptions Python prints and forgets.
INTERRUPTED = """
import os, signal, sys
from pylae.cli import main

class Interrupting:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "pylae.gateway":
            Interrupting()

sys.meta_path.insert(0, Finder())
main(["demo", "--port", "0"])
"""


def test_a_signal_whose_exception_is_lost_ends_the_demo_all_the_same() -> None:
    done = run_python(INTERRUPTED)
    assert "Exception ignored" in done.stderr
    assert "listening" not in done.stderr
    assert done.returncode == 130
