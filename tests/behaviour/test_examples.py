"""Every folder under `examples` is a plugin with a configuration, or a program; it loads and has tests of its own."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from pylae import Gateway, Plugin

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDERS = sorted(folder for folder in EXAMPLES.iterdir() if folder.is_dir() and not folder.name.startswith(("_", ".")))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_configuration_loads(folder: Path, tmp_path: Path) -> None:
    file = folder / "pylae.yaml"
    command = [sys.executable, "-m", "pylae", "check", str(file if file.exists() else folder / f"{folder.name}.py")]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_it_is_complete(folder: Path) -> None:
    assert (folder / f"{folder.name}.py").exists()
    assert "def test_" in (folder / f"test_{folder.name}.py").read_text(encoding="utf-8")
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert f"[{folder.name}]({folder.name})" in listed


def test_entry_points_name_plugins() -> None:
    for project in EXAMPLES.glob("*/pyproject.toml"):
        Gateway.from_file(project.parent / "pylae.yaml").plan()
        for value in tomllib.loads(project.read_text())["project"]["entry-points"]["pylae.plugins"].values():
            module, _, name = value.partition(":")
            assert issubclass(getattr(import_module(module), name), Plugin)
