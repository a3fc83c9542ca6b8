"""Tokens that are made before a gateway has ever run: it accepts them, or making them fails."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.exchanges import ask
from support.instance import EchoInstance
from support.running import Process

PROGRAM = """\
import logging
from pylae import Gateway, Route

logging.basicConfig(level=logging.INFO)
gateway = Gateway(listeners=["127.0.0.1:0"], workers=1, admin=False)
gateway.add_route(Route(path="/", service_url="URL"))
gateway.run()
"""
IN_PYTHON = "from pylae.auth import issue_token; print(issue_token('7'))"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has never run a gateway."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    for name in ("PYLAE_JWT_SECRET", "JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def program(tmp_path: Path, echo: EchoInstance) -> Iterator[Callable[[], str]]:
    """Writes `gateway.py`; what it gives runs it, and gives its address."""
    (tmp_path / "gateway.py").write_text(PROGRAM.replace("URL", echo.url))
    started: list[Process] = []

    def start() -> str:
        (tmp_path / "beside").mkdir()
        started.append(Process({}, tmp_path / "beside", "-m", "pylae", "run", str(tmp_path / "gateway.py")))
        return started[-1].address

    yield start
    for process in started:
        process.stop()


def pylae(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with these arguments."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=30
    )


TOKEN = ("-m", "pylae", "token", "--user", "7")
WAYS = {
    "of a file": (*TOKEN, "gateway.py"),
    "of the file at hand": TOKEN,
    "of no file": TOKEN,
    "in Python": ("-c", IN_PYTHON),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_token_made_before_the_first_start_is_accepted(
    home: Path, tmp_path: Path, program: Callable[[], str], way: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    made = pylae(elsewhere if way == "of no file" else tmp_path, *WAYS[way])
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    address = program()
    answer = ask(address, headers={"Authorization": f"Bearer {token}"})
    assert answer.status == 200, answer.text
    assert ask(address).status == 401
    assert stat.S_IMODE((home / "pylae" / "jwt-secret").stat().st_mode) == 0o600
    again = pylae(tmp_path, *WAYS[way]).stdout.strip()
    assert ask(address, headers={"Authorization": f"Bearer {again}"}).status == 200


def test_a_secret_that_cannot_be_kept_signs_nothing(home: Path, tmp_path: Path) -> None:
    (tmp_path / "gateway.py").write_text(PROGRAM.replace("URL", "http://127.0.0.1:9"))
    home.write_text("in the way")
    for arguments in (TOKEN, ("-c", IN_PYTHON)):
        made = pylae(tmp_path, *arguments)
        assert (made.returncode, made.stdout) == (1, "")
        assert "jwt-secret" in made.stderr
        assert "cannot be stored" in made.stderr
        assert "PYLAE_JWT_SECRET" in made.stderr
    home.unlink()
    (home / "pylae").mkdir(parents=True)
    (home / "pylae" / "jwt-secret").symlink_to(tmp_path / "gateway.py")
    assert "cannot be stored" in pylae(tmp_path, *TOKEN).stderr


NOBODY_ASKS = {
    "gateway.py": PROGRAM.replace('"URL"', '"http://127.0.0.1:9", auth_required=False'),
    "pylae.yaml": "routes: [{path: /, service_url: 'http://127.0.0.1:9', auth_required: false}]\n",
}


@pytest.mark.parametrize("name", NOBODY_ASKS)
def test_a_gateway_that_looks_at_no_token_gets_none(home: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(NOBODY_ASKS[name])
    made = pylae(tmp_path, *TOKEN)
    assert (made.returncode, made.stdout) == (1, "")
    assert "no token can be signed: no route requires a user" in made.stderr
    assert not home.exists()


def test_looking_at_a_configuration_makes_no_secret(home: Path, tmp_path: Path) -> None:
    (tmp_path / "gateway.py").write_text(PROGRAM.replace("URL", "http://127.0.0.1:9"))
    for arguments in (("check", "gateway.py"), ("explain", "gateway.py", "GET", "/"), ("routes", "gateway.py")):
        assert pylae(tmp_path, "-m", "pylae", *arguments).returncode == 0
    assert not home.exists()


def test_a_program_with_an_empty_auth_is_signed_for_like_one_without(
    home: Path, tmp_path: Path, program: Callable[[], str]
) -> None:
    """Its secret is the generated one: it requires users and says nothing of who vouches for them."""
    text = (tmp_path / "gateway.py").read_text()
    (tmp_path / "gateway.py").write_text(text.replace("admin=False", "admin=False, auth={}"))
    made = pylae(tmp_path, *TOKEN)
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", made.stdout), made.stderr
    assert [path.name for path in (home / "pylae").iterdir()] == ["jwt-secret"]
    answer = ask(program(), headers={"Authorization": f"Bearer {made.stdout.strip()}"})
    assert answer.status == 200
