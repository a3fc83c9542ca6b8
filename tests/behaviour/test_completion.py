"""Shell completion, in the shells themselves: what a person gets who presses Tab."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.programs import program
from support.terminal import Terminal

SETUP = 'eval "$(pylae completion bash)"\n'


@pytest.fixture
def bash(tmp_path: Path) -> Iterator[Terminal]:
    """A shell at a terminal that knows the command, in a folder with a configuration."""
    (tmp_path / "gateway-of-mine.yaml").write_text("services: {}\n")
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {"PATH": path, "PS1": "ready$ ", "INPUTRC": "/dev/null", "HISTFILE": ""}
    with Terminal(program("bash"), "--norc", "--noprofile", "-i", cwd=tmp_path, env=environment) as shell:
        shell.read_until(r"ready\$ ")
        shell.type(SETUP)
        shell.type("echo it is $((40 + 2))\n")
        shell.read_until(r"it is 42\n")
        yield shell


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("pylae ch", "pylae check "),
        ("pylae doc", "pylae doctor "),
        ("pylae new plu", "pylae new plugin "),
        ("pylae doctor --rep", "pylae doctor --report "),
        ("pylae check gate", "pylae check gateway-of-mine.yaml "),
        ("pylae explain gate", "pylae explain gateway-of-mine.yaml "),
        ("pylae explain PAT", "pylae explain PATCH "),
        ("pylae completion zs", "pylae completion zsh "),
    ],
)
def test_tab(bash: Terminal, typed: str, completed: str) -> None:
    bash.type(f"{typed}\t")
    bash.read_until(rf"ready\$ {re.escape(completed)}")
    assert "Traceback" not in bash.text


def test_an_unknown_verb_completes_to_nothing(bash: Terminal) -> None:
    bash.type("pylae nothing \t")
    bash.type("\x15echo it is $((50 + 2))\n")
    bash.read_until(r"it is 52\n")
    assert "there is no command" not in bash.text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pylae", "completion", shell], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "_PYLAE_COMPLETE" in done.stdout


def test_another_shell() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pylae", "completion", "tcsh"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr
