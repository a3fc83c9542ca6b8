"""`pylae new`: what it writes runs, is tested, and takes nothing away."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pylae as package


def run(folder: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """A command in a folder, as a person would call it."""
    paths = os.pathsep.join(part for part in (str(Path(package.__file__).parents[1]), path) if part)
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def said_by_pytest(folder: Path) -> str:
    """What pytest says of the tests in a folder, which pass."""
    done = run(folder, "pytest", "-q", "-p", "pylae.testing.plugin", "-p", "no:cacheprovider", "-p", "no:randomly")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("options", "name", "count"), [((), "pylae.yaml", 3), (("--python",), "gateway.py", 4)])
def test_a_gateway(pylae, tmp_path: Path, options: tuple[str, ...], name: str, count: int) -> None:
    folder = tmp_path / "shop"
    made = pylae("new", "gateway", folder, *options)
    said = (
        f"Wrote {folder / name}\nWrote {folder / 'test_gateway.py'}\n"
        f"Next: cd {folder}, then pylae check {name}, pylae run {name}, python -m pytest\n"
    )
    assert (made.exit_code, made.output) == (0, said)
    checked = run(folder, "pylae", "check")
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, f"ok {name}: 1 route, 1 service\n", "")
    assert f"{count} passed" in said_by_pytest(folder)


def test_here(pylae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = pylae("new", "gateway")
    assert made.output.splitlines()[-1] == "Next: pylae check pylae.yaml, pylae run pylae.yaml, python -m pytest"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pylae.yaml", "test_gateway.py"]


@pytest.mark.parametrize("there", ["pylae.yaml", "test_gateway.py"])
def test_nothing_is_overwritten_or_half_written(pylae, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    refused = pylae("new", "gateway", tmp_path)
    assert refused.exit_code == 3
    said = f"pylae: {tmp_path / there} exists, and nothing was written\n  hint: choose another folder\n"
    assert refused.stderr == said
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


@pytest.mark.parametrize("kind", ["plugin", "authenticator"])
def test_a_plugin(pylae, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "made"
    made = pylae("new", kind, "Team_check", folder)
    assert made.exit_code == 0, made.output
    assert sorted(path.name for path in folder.iterdir()) == ["pyproject.toml", "team_check.py", "test_team_check.py"]
    assert "3 passed" in said_by_pytest(folder)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["entry-points"]) == (
        "pylae-team-check",
        {f"pylae.{kind}s": {"team-check": "team_check:TeamCheck"}},
    )


def test_how_what_was_written_is_used(pylae, tmp_path: Path) -> None:
    said = pylae("new", "authenticator", "team-check", tmp_path / "made").output
    assert "auth: {plugins: {mine: {use: team-check}}} in a configuration" in said
    assert "`auth: {plugins: {mine: {use: team-check}}}`" in (tmp_path / "made" / "pyproject.toml").read_text()


def test_a_plugin_that_is_installed_is_found_by_its_name(pylae, tmp_path: Path) -> None:
    """As pip leaves it: the module, and metadata with the entry points of the project."""
    pylae("new", "plugin", "team-check", tmp_path / "made")
    project = tomllib.loads((tmp_path / "made" / "pyproject.toml").read_text())["project"]
    metadata = tmp_path / "site" / f"pylae_team_check-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(head)
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["pylae.plugins"].items())
    (metadata / "entry_points.txt").write_text(f"[pylae.plugins]\n{points}")
    (tmp_path / "made" / "team_check.py").rename(tmp_path / "site" / "team_check.py")
    (tmp_path / "pylae.yaml").write_text("plugins: [{use: team-check, settings: {required: X-Team}}]\n")
    checked = run(tmp_path, "pylae", "check", path=str(tmp_path / "site"))
    assert (checked.returncode, checked.stderr) == (0, "")
    (tmp_path / "pylae.yaml").write_text("plugins: [{use: team-chek}]\n")
    refused = run(tmp_path, "pylae", "check", path=str(tmp_path / "site"))
    assert refused.returncode == 1
    assert "did you mean `team-check`" in refused.stderr


def test_without_a_kind_the_help_is_shown(pylae) -> None:
    shown = pylae("new")
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "gateway" in shown.stderr and "plugin" in shown.stderr


@pytest.mark.parametrize("name", ["1st", "a b", "a--b", "-", "class", "../x", "ä"])
def test_names_that_plugins_cannot_have(pylae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    refused = pylae("new", "plugin", "--", name)
    assert refused.exit_code == 2
    assert "cannot be the name of a plugin" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_has_the_form_of_the_house(pylae, tmp_path: Path) -> None:
    pylae("new", "gateway", tmp_path / "yaml")
    pylae("new", "gateway", tmp_path / "python", "--python")
    pylae("new", "plugin", "team-check", tmp_path / "plugin")
    pylae("new", "authenticator", "team-badge", tmp_path / "authenticator")
    for command in ("check", "format"):
        arguments = ["ruff", command, "--no-cache", "--isolated", "--line-length", "120", str(tmp_path)]
        done = run(tmp_path, *arguments, *(["--check"] if command == "format" else []))
        assert done.returncode == 0, done.stdout + done.stderr
