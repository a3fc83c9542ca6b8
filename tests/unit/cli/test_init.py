"""`pylae init`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pylae.testing import FakeService
from pylae.testing.client import Client


def test_the_starter_is_good(pylae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = pylae("init")
    assert (written.exit_code, written.output) == (
        0,
        "Wrote pylae.yaml. Next: pylae check pylae.yaml, then pylae run pylae.yaml\n",
    )
    checked = pylae("check", "pylae.yaml")
    assert (checked.exit_code, checked.output) == (0, "ok pylae.yaml: 1 route, 1 service\n")


def test_what_the_starter_proposes_is_good(pylae, tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    pylae("init", file)
    lines = file.read_text().splitlines()
    proposed = [
        line.replace("# ", "", 1) if line.lstrip().startswith("# ") and is_setting(line) else line for line in lines
    ]
    assert proposed != lines
    file.write_text("\n".join(proposed))
    checked = pylae("check", file)
    assert (checked.exit_code, checked.stderr) == (0, "")


def is_setting(line: str) -> bool:
    """Whether a comment is a setting that waits to be switched on."""
    keys = (
        "trusted_proxies:",
        "workers:",
        "health_check:",
        "circuit_breaker:",
        "strip_prefix:",
        "timeout:",
        "retries:",
        "- {url",
    )
    return line.lstrip().removeprefix("# ").startswith(keys)


def test_a_program_is_written_where_one_is_named(pylae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = pylae("init", "gateway.py")
    assert (written.exit_code, written.output) == (
        0,
        "Wrote gateway.py. Next: pylae check gateway.py, then pylae run gateway.py\n",
    )
    checked = pylae("check", "gateway.py")
    assert (checked.exit_code, checked.output) == (0, "ok gateway.py: 1 route, 1 service\n")
    text = Path("gateway.py").read_text()
    assert text.splitlines()[0].startswith('"""')
    refused = pylae("init", "gateway.py")
    assert (refused.exit_code, Path("gateway.py").read_text()) == (3, text)


def test_the_program_runs(tmp_path: Path, service: FakeService) -> None:
    """Its port apart."""
    program = tmp_path / "gateway.py"
    init = [sys.executable, "-m", "pylae", "init", str(program)]
    subprocess.run(init, check=True, capture_output=True, timeout=60)
    text = program.read_text()
    assert '"127.0.0.1:8080"' in text
    program.write_text(text.replace("127.0.0.1:8080", "127.0.0.1:0"))
    environment = {**os.environ, "API_URL": service.url, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "pylae", "run", str(program)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
    ) as process:
        try:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if found := re.search(r"listening on http://(127\.0\.0\.1:\d+)", line):
                    break
            assert found, "".join(said)
            response = Client(found[1]).get("/api/orders?x=1")
            assert (response.status, response.text) == (200, "hello")
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert service.requests[0].target == "/api/orders?x=1"


def test_what_the_program_proposes_is_good(pylae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", "a secret of more than thirty-two bytes, for tests")
    program = tmp_path / "gateway.py"
    pylae("init", program)
    text = program.read_text()
    (tmp_path / "errors").mkdir()
    (tmp_path / "errors" / "404.html").write_text("<p>{{path}}")
    (tmp_path / "errors" / "404.json").write_text('{"status": {{status}}}')
    proposed = re.sub(r"^( *)# (?=\w+=)", r"\1", text, flags=re.MULTILINE)
    assert proposed != text
    program.write_text(proposed)
    checked = pylae("check", program)
    assert (checked.exit_code, checked.stderr) == (0, "")


def test_an_existing_file_is_kept(pylae, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("mine")
    refused = pylae("init", file)
    assert refused.exit_code == 3
    assert refused.stderr == f"pylae: {file} exists\n  hint: choose another name, or overwrite it with --force\n"
    assert file.read_text() == "mine"
    assert pylae("init", file, "--force").exit_code == 0
    assert file.read_text() != "mine"


def test_a_file_that_can_not_be_written(pylae, tmp_path: Path) -> None:
    refused = pylae("init", tmp_path / "nowhere" / "pylae.yaml")
    assert refused.exit_code == 3
    assert refused.stderr.endswith("nowhere/pylae.yaml: No such file or directory\n")
