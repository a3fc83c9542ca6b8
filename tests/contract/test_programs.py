"""Forty wrong programs of ten areas, and what is said about each: half by type checkers, half when they run.

A program of `checked` has one wrong line, on which mypy says what stands behind it, and pyright what stands in the next
line that is a comment. What a program of `run` raises stands in the file beside it. In programs of `lines` each
line that says so is wrong to both checkers; in those of `right` nothing is, and they run.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from pylae import ConfigError, HookError
from pylae.cli import main

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "programs"
AREAS = {
    *("auth", "authenticators", "cache", "hooks", "limits", "listeners", "middlewares", "routes", "services"),
    "testing",
}
CHECKED = sorted((FOLDER / "checked").glob("*.py"))
RUN = sorted((FOLDER / "run").glob("*.py"))
LINES = sorted((FOLDER / "lines").glob("*.py"))
RIGHT = sorted((FOLDER / "right").glob("*.py"))

pytestmark = pytest.mark.timeout(300)  # the first one waits for the type checkers, which read the whole package

Found = Mapping[Path, list[tuple[int, str]]]
"""Lines and messages of errors by file."""


def expected(file: Path) -> tuple[int, str, str]:
    """The wrong line of a program, and what mypy and pyright say there."""
    lines = file.read_text(encoding="utf-8").splitlines()
    alone = [line for line in lines if line.lstrip().startswith("# ")]
    ((number, by_mypy),) = [
        (at, line.partition("  # ")[2]) for at, line in enumerate(lines, 1) if "  # " in line and line not in alone
    ]
    (by_pyright,) = [line.lstrip()[2:] for line in alone]
    return number, by_mypy, by_pyright


def checked(command: list[str]) -> str:
    environment = {**os.environ, "MYPYPATH": str(ROOT / "python")}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def by_mypy() -> Found:
    """With the settings of a user who has written `strict = true` and no more: without Pydantic's plugin."""
    options = ["--config-file=", "--strict", "--follow-imports=silent", "--no-pretty", "--hide-error-context"]
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'programs'}"
    out = checked(["mypy", *options, cache, "--no-error-summary", *map(str, (*CHECKED, *LINES, *RIGHT))])
    found: dict[Path, list[tuple[int, str]]] = {}
    for file, line, message in re.findall(r"^(.+?):(\d+): error: (.*)$", out, re.MULTILINE):
        found.setdefault(ROOT / file, []).append((int(line), message))
    return found


@pytest.fixture(scope="module")
def by_pyright() -> Found:
    command = ["basedpyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(FOLDER)]
    found: dict[Path, list[tuple[int, str]]] = {}
    out = json.loads(checked(command))
    assert out["summary"]["filesAnalyzed"] == len((*CHECKED, *LINES, *RIGHT))
    for said in out["generalDiagnostics"]:
        if said["severity"] == "error":
            found.setdefault(Path(said["file"]), []).append((said["range"]["start"]["line"] + 1, said["message"]))
    return found


@pytest.mark.parametrize("file", CHECKED, ids=lambda file: file.stem)
def test_a_type_checker_finds_it(file: Path, by_mypy: Found, by_pyright: Found) -> None:
    line, *expectations = expected(file)
    for found, text in zip((by_mypy, by_pyright), expectations, strict=True):
        said = found.get(file, [])
        assert {at for at, _ in said} == {line}, said
        assert any(text in message for _, message in said), said


@pytest.mark.parametrize("file", LINES, ids=lambda file: file.stem)
def test_a_type_checker_finds_each_wrong_line(file: Path, by_mypy: Found, by_pyright: Found) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("  # wrong")}
    for found in (by_mypy, by_pyright):
        assert {number for number, _ in found.get(file, ())} == wrong


@pytest.mark.parametrize("file", RIGHT, ids=lambda file: file.stem)
def test_nothing_is_wrong(file: Path, by_mypy: Found, by_pyright: Found) -> None:
    assert (by_mypy.get(file), by_pyright.get(file)) == (None, None)
    runpy.run_path(str(file))


@pytest.mark.parametrize("file", RUN, ids=lambda file: file.stem)
def test_it_is_said_when_it_runs(file: Path, golden: Callable[[Path, str], None]) -> None:
    with pytest.raises((ConfigError, HookError)) as caught:
        runpy.run_path(str(file))
    text = f"{type(caught.value).__name__}: {caught.value}\n".replace(f"{file.parent}/", "")
    golden(file.with_suffix(".txt"), text)
    for command in ("check", "run"):
        told = CliRunner().invoke(main, [command, str(file)])
        assert (told.exit_code, "fault" in told.stderr) == (1, False), told.stderr
        assert str(file) in told.stderr


def test_forty_of_ten_areas() -> None:
    for files in (CHECKED, RUN):
        assert Counter(file.stem.partition("_")[0] for file in files) == dict.fromkeys(AREAS, 2)
