"""`pylae init`."""

from __future__ import annotations

from pathlib import Path

import pytest


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
