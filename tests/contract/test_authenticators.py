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
    auth = Gateway.from_file(ROOT / "tests" / "golden" / "everything.yaml").plan()["auth"]
    assert native == {one["kind"] for one in auth["authenticators"]} != set()
