"""Links between the pages lead somewhere: the file is there, and so is the heading that an anchor names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIPPED = {".git", ".venv", "node_modules", "results", "target"}
PAGES = sorted(
    page.relative_to(ROOT) for page in ROOT.rglob("*.md") if not SKIPPED & set(page.relative_to(ROOT).parts[:-1])
)

_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\((?P<target>[^()\s]+)\)")
_HEADING = re.compile(r"^#+ +(?P<title>.+)$", re.MULTILINE)


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of the headings, made as GitHub makes them."""
    found: set[str] = set()
    for heading in _HEADING.finditer(prose(page)):
        title = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading["title"])
        anchor = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        number = sum(1 for _ in (name for name in found if re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", name)))
        found.add(f"{anchor}-{number}" if number else anchor)
    return found


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    wrong = []
    for link in _LINK.finditer(_CODE.sub("", prose(page))):
        target = link["target"]
        if re.match(r"[a-z]+:", target):
            continue  # elsewhere
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_links_of_a_page(page: Path) -> None:
    assert broken(ROOT / page) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[a](other.md)", []),
        ("[a](other.md#two-words-and-code)", []),
        ("[a](#here)", []),
        ("[a](https://example.org/#x)", []),
        ("`[a](gone.md)`\n\n```text\n[a](gone.md)\n```\n", []),
        ("[a](gone.md)", ["gone.md"]),
        ("[a](other.md#two-words)", ["other.md#two-words"]),
        ("[a](#there)", ["#there"]),
    ],
)
def test_what_is_seen(tmp_path: Path, text: str, wrong: list[str]) -> None:
    (tmp_path / "other.md").write_text("# Two words, and `code`\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(f"# Here\n\n{text}\n", encoding="utf-8")
    assert broken(page) == wrong
