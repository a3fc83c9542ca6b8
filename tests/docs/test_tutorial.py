"""The plugin of the tutorial when pip has installed it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pylae
from support.guides import write


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(pylae.__file__).parents[1]), str(folder / "installed")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_plugin_of_the_tutorial_by_name(tmp_path: Path) -> None:
    """As pip leaves it when it has installed the package."""
    write("plugins.md", tmp_path)
    points = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]["entry-points"]["pylae.plugins"]
    installed = tmp_path / "installed" / "pylae_business_hours-1.0.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: pylae-business-hours\nVersion: 1.0.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (installed / "entry_points.txt").write_text(f"[pylae.plugins]\n{lines}")
    (tmp_path / "business_hours.py").rename(tmp_path / "installed" / "business_hours.py")
    (tmp_path / "by_name.yaml").write_text("plugins:\n  - {use: business-hours, settings: {closes: 20}}\n")
    checked = run(tmp_path, "pylae", "check", "by_name.yaml")
    assert checked.returncode == 0, checked.stderr
    (tmp_path / "by_name.yaml").write_text("plugins:\n  - {use: busyness-hours}\n")
    refused = run(tmp_path, "pylae", "check", "by_name.yaml")
    assert refused.returncode != 0
    assert "business-hours" in refused.stderr
