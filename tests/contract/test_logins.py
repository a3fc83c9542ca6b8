"""The guide says what to do about each reason for which a login, a session or a logout fails."""

from __future__ import annotations

import re
from pathlib import Path

from pylae.identity.login.failures import REASONS

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "login.md"
TOGETHER = "logout_token_"
"""What stands in one row of the table for all that begin so."""


def test_each_reason_is_in_the_table() -> None:
    told = {
        word
        for row in re.findall(r"^\| (`oidc_.*?) \|", PAGE.read_text("utf-8"), re.MULTILINE)
        for word in row.split("`")
    }
    known = {f"oidc_{TOGETHER}…" if reason.startswith(TOGETHER) else f"oidc_{reason}" for reason in REASONS}
    assert told - {"", ", "} == known
