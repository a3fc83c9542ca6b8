"""Units of systemd: what they say, and what systemd says of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from support.programs import program


def settings(unit: Path) -> dict[str, str]:
    """The keys of a unit; of one that stands twice the last value."""
    return dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE))


def analyze(*arguments: str) -> str:
    """What `systemd-analyze` says, which must succeed."""
    command = [program("systemd-analyze", "systemd"), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr
