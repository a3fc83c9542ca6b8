"""The kinds of authenticators: the same on both sides."""

from __future__ import annotations

import re
from pathlib import Path

from pylae import Gateway

ROOT = Path(__file__).parents[2]


def test_every_kind_of_authenticator_of_the_native_table_has_a_golden_setting() -> None:
    """The native side takes that plan, so what Python has, it has; here is what only the native side might have."""
    source = (ROOT / "crates" / "policies" / "src" / "authentication" / "kinds.rs").read_text()
    _, _, rows = source.partition("\nauthenticator_table! {")
    native = set(re.findall(r"^    (\w+): ", rows, re.MULTILINE))
    parts = [Gateway.from_file(file).plan()["auth"] for file in (ROOT / "tests" / "golden").glob("*.yaml")]
    assert native == {one["kind"] for auth in parts if auth for one in auth["authenticators"]} != set()
