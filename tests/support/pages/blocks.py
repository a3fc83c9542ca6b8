"""Fenced blocks of a page, and the marks before them that nobody sees in rendered Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs" / "guide").glob("*.md"),
    ]
)
MARKS = {
    "fragment": "cannot stand alone; it is checked within the smallest thing that has it",
    "continues": "goes on with the program before it",
    "file": "is the content of this file",
    "gateway": "its commands meet a running gateway with this configuration",
    "foreign": "is for this other program",
}
"""What `<!-- mark -->` or `<!-- mark: value -->` on a line before a block says of it."""
HOW = "; ".join(f"<!-- {mark} -->: the block {meaning}" for mark, meaning in MARKS.items())

_FENCED = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- *(?P<mark>[a-z]+)(?:: *(?P<value>.*?))? *-->")
_NAMED = re.compile(r"# (?P<name>[\w./]+\.\w+)\n")


class WrongBlockError(AssertionError):
    """A block that neither runs nor is marked as what it is."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    marks: Mapping[str, str]

    @property
    def where(self) -> str:
        """Page and line, as editors understand them."""
        page = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page
        return f"{page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that it is the content of: by its mark, or by its first line, a comment of nothing but a name."""
        named = None if "foreign" in self.marks else _NAMED.match(self.text)
        return self.marks.get("file") or (named["name"] if named else None)

    @property
    def fragment(self) -> bool:
        """Whether it cannot stand alone."""
        return "fragment" in self.marks


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for fenced in _FENCED.finditer(text):
        line = text.count("\n", 0, fenced.start()) + 1
        marks = _marks(text[: fenced.start()])
        if unknown := marks.keys() - MARKS.keys():
            raise WrongBlockError(f"{page}:{line}: no mark is called {', '.join(unknown)}. {HOW}")
        found.append(Block(page, line, fenced["language"], dedent(fenced["text"]), marks))
    fences = len(re.findall(r"^ *```", text, re.MULTILINE))
    if fences != 2 * len(found):
        raise WrongBlockError(f"{page}: {fences} fences are not {len(found)} blocks")
    return found


def _marks(before: str) -> dict[str, str]:
    """The marks in the lines right before a block, blank ones apart."""
    marks: dict[str, str] = {}
    for line in reversed(before.rstrip("\n").splitlines()):
        if not line.strip():
            continue
        mark = _MARK.fullmatch(line.strip())
        if mark is None:
            break
        marks[mark["mark"]] = mark["value"] or ""
    return marks


@dataclass(frozen=True)
class Command:
    """A command of a block, and the lines that stand below it as what it says."""

    text: str
    output: tuple[str, ...]


def commands(block: Block) -> list[Command]:
    """Those of a console begin with a prompt, `$ ` or root's `# `; a block of `sh` is one command."""
    if block.language != "console":
        return [Command(block.text, ())]
    found: list[Command] = []
    open_ended = False
    for line in block.text.splitlines():
        if open_ended:
            found[-1] = Command(f"{found[-1].text}\n{line}", ())
        elif line.startswith(("$ ", "# ")):
            found.append(Command(line[2:], ()))
        elif found:
            found[-1] = Command(found[-1].text, (*found[-1].output, line))
        else:
            raise WrongBlockError(f"{block.where}: a console begins with a prompt, `$ ` or root's `# `")
        open_ended = not found[-1].output and found[-1].text.endswith("\\")
    return found
