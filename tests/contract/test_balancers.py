"""The page about new balancers says what there is, and the guide tells of all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pylae.config.tables import BALANCERS, balancers_with

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-balancer.md").read_text(encoding="utf-8")
FOLDER = ROOT / "crates" / "core" / "src" / "service"
SOURCES = "\n".join(file.read_text(encoding="utf-8") for file in FOLDER.rglob("*.rs"))


def test_every_file_of_the_page_exists() -> None:
    named = {name for name in re.findall(r"`([\w./]+/[\w.]+)`", PAGE) if not name.startswith("balance/")}
    assert named and [name for name in named if not list(ROOT.glob(f"**/{name}"))] == []
    assert {"kind", "view", "turns"} <= {file.stem for file in (FOLDER / "balance").glob("*.rs")}


def test_every_method_and_field_of_the_page_exists() -> None:
    (table,) = re.findall(r"\| of the view \| is \|\n(.*?)\n\n", PAGE, re.DOTALL)
    rows = [cell.split(" | ")[0] for cell in re.findall(r"\| (`.*)", table)]
    names = {name for row in rows for name in re.findall(r"`(\w+)", row)}
    assert len(names) >= 9
    assert [name for name in names if not re.search(rf"(fn {name}\(|pub\(crate\) {name}:|fn {name}<)", SOURCES)] == []


def test_the_page_knows_every_role() -> None:
    (roles,) = re.findall(r"pub enum BalancerRole \{(.*?)\n\}", SOURCES, re.DOTALL)
    assert re.findall(r"^   \| `(\w+)` \|", PAGE.partition("| role |")[2], re.MULTILINE) == re.findall(
        r"^    (\w+),", roles, re.MULTILINE
    )


@pytest.mark.parametrize("name", BALANCERS)
def test_the_guide_tells_of_every_balancer(name: str) -> None:
    guide = (ROOT / "docs" / "guide" / "resilience.md").read_text(encoding="utf-8")
    written = f"| `{{kind: {name}, on:" if name in balancers_with("key") else f"| `{name}`"
    assert written in guide
