"""What the guides tell people to write."""

from __future__ import annotations

import re
from pathlib import Path

GUIDES = Path(__file__).parents[2] / "docs" / "guide"
_BLOCK = re.compile(r"^```\w+\n# (?P<name>[\w.]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def write(guide: str, folder: Path) -> list[str]:
    """Writes the files of a guide: its blocks that begin with a file's name."""
    names = []
    for block in _BLOCK.finditer((GUIDES / guide).read_text(encoding="utf-8")):
        (folder / block["name"]).write_text(block["text"], encoding="utf-8")
        names.append(block["name"])
    return names
