"""The user of the store in `deploy/cluster` may do what gateways and their scripts do, and nothing that harms."""

from __future__ import annotations

import re
from pathlib import Path

from support.recipe import RECIPE, RecipeStore, make_secrets

ROOT = Path(__file__).parents[2]
CALLED = re.compile(r"\bp?call\('([A-Z]+)'")
CLIENT = (
    *("HELLO", "PING", "SELECT", "ASKING", "WAIT", "CLUSTER NODES", "SCRIPT LOAD", "EVAL x 1", "EVALSHA x 1"),
    *("XREAD COUNT 1 STREAMS pylae:a 0", "ZREM"),
)
"""What gateways send."""
FORBIDDEN = ("FLUSHALL", "KEYS *", "CONFIG GET dir", "ACL LIST", "SHUTDOWN", "GET other", "EVAL x 1 b")


def test_the_user_of_the_store_may_do_what_gateways_do_and_no_more(tmp_path: Path) -> None:
    scripts = list((ROOT / "crates").glob("*/src/**/*.lua"))
    called = {name for script in scripts for name in CALLED.findall(script.read_text())}
    assert "ZADD" in called
    with RecipeStore(make_secrets(tmp_path / "secrets")) as store:
        assert [command for command in (*CLIENT, *sorted(called)) if not store.permits(*command.split())] == []
        assert [command for command in FORBIDDEN if store.permits(*command.split())] == []


def test_the_guide_has_the_same_rights() -> None:
    rights = re.compile(r"resetchannels .*$", re.MULTILINE)
    guide = (ROOT / "docs/guide/cluster.md").read_text(encoding="utf-8")
    assert rights.findall(guide) == rights.findall((RECIPE / "make-secrets").read_text(encoding="utf-8"))
