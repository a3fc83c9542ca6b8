"""Every test that the table of RFC 9111 names exists, and every test of the RFC stands in the table."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "reference" / "rfc9111.md"
RUST = ROOT / "crates" / "core" / "src" / "cache" / "tests"
SOCKETS = ROOT / "tests" / "policies" / "test_cache.py"


def functions_of(file: Path, keyword: str) -> set[str]:
    """Names of the functions of a file that are tests."""
    return set(re.findall(rf"^{keyword} (\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE))


def test_the_table_and_the_tests_agree() -> None:
    named = set(re.findall(r"`(\w{8,})`", "".join(re.findall(r"\|[^|]*\|\n", TABLE.read_text(encoding="utf-8")))))
    rust = set().union(*(functions_of(file, "fn") for file in RUST.glob("*.rs")))
    assert named - rust - functions_of(SOCKETS, "def") == set()
    assert {name for name in rust if re.match(r"s\d_", name)} - named == set()
