"""Every fenced block of the README and of the pages of `docs` runs, or is checked as the fragment that it is.

A block that has just been written and fails here is repaired, or marked with what it is by a comment before it, which
nobody sees in rendered Markdown: `support.pages.blocks.MARKS`. What a page takes for granted lies in `given/PAGE`:
files that are put beside its blocks, and `prelude.py`, which stands before its fragments of Python.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support.pages.blocks import PAGES, blocks
from support.pages.sandbox import Sandbox
from support.pages.walk import Walk


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_the_blocks_of_a_page(page: Path, tmp_path: Path) -> None:
    with Sandbox(tmp_path) as sandbox:
        Walk(page, sandbox).run()
