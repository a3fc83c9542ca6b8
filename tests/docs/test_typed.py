"""What the pages say in Python is typed, as a strict user's mypy sees it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from support.pages.blocks import PAGES, ROOT, blocks
from support.pages.walk import program_of


def test_programs_and_fragments_are_typed(tmp_path: Path) -> None:
    """Every block of Python, with what its page takes for granted before it."""
    for page in PAGES:
        for block in blocks(page):
            if block.language == "python":
                name = f"{page.stem.replace('-', '_').lower()}_{block.line}.py"
                (tmp_path / name).write_text(program_of(block), encoding="utf-8")
    options = ["--config-file=", "--check-untyped-defs", "--follow-imports=silent", "--ignore-missing-imports"]
    command = ["mypy", *options, f"--cache-dir={ROOT / '.mypy_cache' / 'guides'}", *map(str, tmp_path.glob("*.py"))]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT / "python")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"Success: no issues found in (\d\d) source files", done.stdout), done.stdout + done.stderr
