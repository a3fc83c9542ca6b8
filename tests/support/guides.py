"""What the guides tell people to write."""

from __future__ import annotations

from pathlib import Path

from support.pages.blocks import ROOT, blocks


def write(guide: str, folder: Path) -> list[str]:
    """Writes the files of a guide, those of its blocks that are the content of one, and gives their names."""
    names = []
    for block in blocks(ROOT / "docs" / "guide" / guide):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
            names.append(block.file)
    return names
