"""Programs that tests use and that the project does not install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest


def program(name: str, package: str | None = None) -> str:
    """The path of a program. The test is skipped, with the Debian package to install, where it is absent."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian's package {package or name} has it)")
    return found


def run_python(source: str, *arguments: str, through: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Runs a Python program, which may import what supports the tests, to its end; `through` is a command that runs
    commands."""
    return subprocess.run(
        [*through, sys.executable, "-c", source, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
