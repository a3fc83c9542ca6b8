"""Words for what fails about logins: all that are raised are in the table, by which metrics and the guide know them."""

from __future__ import annotations

import re
from pathlib import Path

from pylae.identity.login.failures import OF_TOKENS, REASONS

ROOT = Path(__file__).parents[2]


def test_every_reason_is_one_word() -> None:
    assert len(set(REASONS)) == len(REASONS)
    assert all(reason.isidentifier() and reason.islower() for reason in REASONS)


def test_reasons_are_those_in_the_table() -> None:
    """What is raised anywhere is in the table."""
    folder = ROOT / "python/pylae/identity/login"
    raised = set()
    for file in folder.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        raised |= set(re.findall(r'(?:Identity|Provider)Error\(\s*"(\w+)"', text))
        raised |= set(
            re.findall(r'(?:form|bearer|_asked|document_of|_document)\([^"\n]*"(\w+_(?:failed|invalid))"', text)
        )
    assert len(raised) > 40
    assert raised <= set(REASONS), raised - set(REASONS)
    rest = set(REASONS) - raised
    assert [reason for reason in rest if "_token_" not in reason] == []


def test_what_the_verifier_says_is_known() -> None:
    """The texts are those of the data plane."""
    source = ROOT / "crates/policies/src/authentication"
    texts = (source / "token.rs").read_text(encoding="utf-8") + (source / "kinds/jwt.rs").read_text(encoding="utf-8")
    assert [text for text in OF_TOKENS if f'"{text}"' not in texts] == []
