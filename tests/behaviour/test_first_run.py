"""What a gateway says when it is started by hand, and on a terminal of each request."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from pylae.cli.foreground import described
from pylae.testing import FakeService, Reply
from support.running import Process, configure
from support.terminal import Terminal

PROGRAM = """\
from pylae import Gateway

gateway = Gateway(listeners=["127.0.0.1:0"], workers=1, state="state", admin="127.0.0.1:0")
gateway.add_service("shop", ["URL"])
gateway.add_route(name="shop", prefix="/shop", service="shop", auth_required=False)
gateway.run()
"""
RUN = {"pylae run": ("-m", "pylae", "run", "pylae.yaml"), "python": ("gateway.py",)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same gateway as a program and as a file."""
    with FakeService({"id": 7}) as unused:
        url = unused.url
    (tmp_path / "gateway.py").write_text(PROGRAM.replace("URL", url))
    shop = {"name": "shop", "prefix": "/shop", "service": "shop", "auth_required": False}
    config = configure({"state": "state", "admin": "127.0.0.1:0", "routes": [shop]}, shop=url)
    (tmp_path / "pylae.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def started(folder: Path, how: str, **env: str) -> Terminal:
    return Terminal(sys.executable, *RUN[how], cwd=folder, env=env)


def address(terminal: Terminal) -> str:
    found = terminal.read_until(r"listening on (http://127\.0\.0\.1:\d+)\n")
    terminal.read_until("serving .*\n")
    return found[1]


@pytest.mark.parametrize("how", RUN)
def test_it_says_where_everything_is_and_shows_each_request(folder: Path, how: str) -> None:
    with started(folder, how) as terminal:
        url = address(terminal)
        state = folder / "state"
        assert re.search(r"admin API on 127\.0\.0\.1:\d+\n", terminal.text)
        assert f"the token of the admin API is in {state / 'admin-token'}\n" in terminal.text
        assert f"state, secrets included, is kept in {state}\n" in terminal.text
        file = "gateway.py" if how == "python" else "pylae.yaml"
        assert f"serving 1 route and 1 service of {file}; Ctrl-C or SIGTERM stops it" in terminal.text
        assert httpx.get(f"{url}/nothing?a=1").status_code == 404
        assert httpx.post(f"{url}/shop/x").status_code == 502
        terminal.read_until(r"\d\d:\d\d:\d\d  404 +\d+\.\d ms  GET /nothing\?a=1 \(no_route\)\n")
        terminal.read_until(r"\d\d:\d\d:\d\d  502 +\d+\.\d ms  POST /shop/x \(\w+\)  shop → shop")
        assert "\x1b[33m404\x1b[0m" in terminal.raw
        terminal.type("\x03")
        assert terminal.wait() == 0
        assert "stopping; exchanges in flight may finish" in terminal.text


@pytest.mark.parametrize("how", RUN)
def test_without_colours(folder: Path, how: str) -> None:
    with started(folder, how, NO_COLOR="1") as terminal:
        httpx.get(f"{address(terminal)}/nothing")
        terminal.read_until("404 .*\n")
        assert "\x1b" not in terminal.raw


def test_what_a_client_sends_does_not_steer_the_terminal() -> None:
    exchange = {
        "status": 200, "duration": 0.001, "method": "GET", "path": "/\x1b[2J\x9b1m", "query": "é\n",
        "route": "r\x07", "service": None, "instance": None, "code": None,
    }  # fmt: skip
    assert described(exchange).endswith(r"GET /\x1b[2J\x9b1m?é\n  r\x07")


def test_many_requests_are_summed_up(folder: Path) -> None:
    with started(folder, "pylae run") as terminal, httpx.Client(base_url=address(terminal)) as client:
        for _ in range(400):
            client.get("/nothing")
        terminal.read_until(r"… \d+ left out\n")


def test_an_access_log_on_the_terminal_is_enough(folder: Path) -> None:
    file = folder / "pylae.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "policies": {"access_log": {}}}))
    with started(folder, "pylae run") as terminal:
        url = address(terminal)
        httpx.get(f"{url}/first")
        terminal.read_until(r'"path":"/first".*\n')
        # Once it goes to a file, the terminal has the lines.
        changed = yaml.safe_load(file.read_text())
        changed["policies"]["access_log"]["output"] = str(folder / "access.log")
        file.write_text(yaml.safe_dump(changed))
        terminal.read_until("configuration applied.*\n")
        httpx.get(f"{url}/second")
        terminal.read_until(r"GET /second .*\n")
        assert "GET /first" not in terminal.text


@pytest.mark.parametrize("how", RUN)
def test_without_a_terminal_there_are_no_request_lines(folder: Path, how: str) -> None:
    process = Process(yaml.safe_load((folder / "pylae.yaml").read_text()), folder, *RUN[how])
    try:
        process.read_until("serving 1 route and 1 service")
        httpx.get(f"{process.url}/nothing")
        process.signal(2)
        assert process.wait() == 0
        process.read_until("stopping")
        assert "/nothing" not in "".join(process.printed)
    finally:
        process.stop()


def test_a_program_with_a_log_of_its_own_keeps_it(folder: Path) -> None:
    program = folder / "gateway.py"
    setup = 'import logging\nlogging.basicConfig(level=logging.INFO, format="own: %(message)s")\n'
    program.write_text(setup + program.read_text())
    with started(folder, "python") as terminal:
        url = address(terminal)
        assert "own: listening on" in terminal.text
        assert terminal.text.count("listening on") == 1
        httpx.get(f"{url}/nothing")
        terminal.read_until(r"404 .*GET /nothing")


def test_listeners_are_shown_with_their_schemes(folder: Path) -> None:
    config = yaml.safe_load((folder / "pylae.yaml").read_text())
    config["listeners"] = ["127.0.0.1:0", {"address": "127.0.0.2:0", "tls": "auto"}]
    process = Process(config, folder)
    try:
        said = process.said("listening on")
        assert re.search(r"listening on http://127\.0\.0\.1:\d+, https://127\.0\.0\.2:\d+$", said.rstrip())
    finally:
        process.stop()


def test_a_terminal_that_is_stopped_stops_nobody(folder: Path) -> None:
    """Ctrl-S: what would be shown waits for the person, and requests do not."""
    with started(folder, "python") as terminal, httpx.Client(base_url=address(terminal)) as client:
        terminal.type("\x13")
        for _ in range(200):
            assert client.get("/nothing").status_code == 404
        terminal.type("\x11")
        terminal.read_until("404 .*GET /nothing")


def test_it_answers_while_lines_are_shown(folder: Path) -> None:
    """What is shown is what the service said."""
    with FakeService(Reply.json({"id": 7}, 201)) as shop:
        program = folder / "gateway.py"
        program.write_text(re.sub(r'\["http://[^"]*"\]', f'["{shop.url}"]', program.read_text()))
        with started(folder, "python") as terminal:
            assert httpx.get(f"{address(terminal)}/shop/7").json() == {"id": 7}
            terminal.read_until(rf"201 +\d+\.\d ms  GET /shop/7  shop → shop → {re.escape(shop.url)}")
