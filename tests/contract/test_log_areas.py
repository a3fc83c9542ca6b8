"""Areas of the log: Python and Rust have the same, and every record is in one."""

from __future__ import annotations

import re
from pathlib import Path

from pylae import _native
from pylae.logs.settings import AREAS

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"pylae", "pylae.audit"}
"""The logger above those of the areas, and that of the audit."""


def test_both_sides_have_the_same_areas() -> None:
    assert _native.LOG_AREAS == AREAS


def test_every_event_of_the_data_plane_is_in_an_area() -> None:
    table = (ROOT / "crates/proxy/src/telemetry/log/area.rs").read_text(encoding="utf-8")
    table = table.split("const EVENTS")[1].split("const MODULES")[0]
    placed = set(re.findall(r'"([a-z_]+)"', table))
    written = set()
    for folder in ("crates/proxy/src", "crates/python/src"):
        for file in (ROOT / folder).rglob("*.rs"):
            text = file.read_text(encoding="utf-8")
            if "log" in text and file.name not in ("tests.rs", "area.rs"):
                # What has levels is a record: other things are written too.
                found = re.findall(r'(?:"(?:debug|info|warning|error)"|level|severity),\s*"([a-z_]+)"', text)
                found += re.findall(r'\.report\([^;{|]*?"([a-z_]+)"', text)
                written |= set(found)
    written -= {"response"}
    assert written - placed == set()
    assert placed - written == set()


def test_every_module_logs_in_an_area() -> None:
    found = {}
    for file in (ROOT / "python/pylae").rglob("*.py"):
        for name in re.findall(r'getLogger\("(pylae[^"]*)"\)', file.read_text(encoding="utf-8")):
            if name not in ELSEWHERE and name.removeprefix("pylae.") not in AREAS:
                found[str(file)] = name
    assert found == {}
