"""Verbs that are given no file find the one of the directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.running import Process

YAML = """\
listeners: ["127.0.0.1:0"]
services: {users: {instances: ["http://127.0.0.1:9001"]}}
routes: [{name: of-the-file, path: /u, service: users, auth_required: false}]
"""
PROGRAM = """\
from pylae import Gateway

gateway = Gateway(listeners=["127.0.0.1:0"], workers=1)
gateway.add_route(name="of-the-program", path="/u", service_url="http://127.0.0.1:9001", auth_required=False)
gateway.run()
"""
VERBS = {"check": ["check"], "routes": ["routes"], "explain": ["explain", "GET", "/u"]}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("there", "found"), [({"pylae.yaml", "gateway.py"}, "pylae.yaml"), ({"gateway.py"}, "gateway.py")]
)
def test_it_is_found(
    pylae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, there: set[str], found: str
) -> None:
    texts = {"pylae.yaml": YAML, "gateway.py": PROGRAM}
    for name in there:
        (tmp_path / name).write_text(texts[name])
    monkeypatch.chdir(tmp_path)
    told = pylae(*VERBS[verb])
    assert told.exit_code == 0, told.output
    assert found in told.output
    if verb != "check":
        assert f"of-the-{'file' if found == 'pylae.yaml' else 'program'}" in told.output


@pytest.mark.parametrize("verb", [*VERBS, "run"])
def test_where_there_is_none_it_says_what_to_do(
    pylae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    told = pylae(*VERBS.get(verb, [verb]))
    assert told.exit_code == 2
    assert told.stderr.splitlines() == [
        "pylae: there is neither pylae.yaml nor gateway.py in this directory",
        f"  hint: give a file: pylae {verb} FILE; `pylae new gateway` writes one",
    ]


def test_run_finds_it_and_the_others_find_what_runs(tmp_path: Path) -> None:
    """Whatever the file holds by now."""
    (tmp_path / "gateway.py").write_text(PROGRAM)
    process = Process({}, tmp_path, "-m", "pylae", "run", "gateway.py")
    try:
        process.file.unlink()
        process.read_until("serving 1 route")
        (tmp_path / "gateway.py").write_text("this is no Python")
        for verb in (["status"], ["top", "--once"], ["drain", "127.0.0.1:9001", "127.0.0.1:9001"]):
            asked = [sys.executable, "-m", "pylae", *verb]
            done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    finally:
        process.stop()
