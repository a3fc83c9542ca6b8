"""The reference pages are what `docs/generate.py` makes of the docstrings now."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_every_page_is_up_to_date() -> None:
    generated = runpy.run_path(str(DOCS / "generate.py"))
    pages, note = generated["pages"](), generated["NOTE"]
    written = {file.name: file.read_text(encoding="utf-8") for file in (DOCS / "reference").glob("*.md")}
    stale = sorted(name for name, text in pages.items() if written.get(name) != text)
    gone = sorted(name for name, text in written.items() if text.startswith(note) and name not in pages)
    assert (stale, gone) == ([], []), "run `python docs/generate.py`"
