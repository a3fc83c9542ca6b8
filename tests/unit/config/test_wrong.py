"""Wrong configurations: each gives exactly the problems in the .txt file beside it, and never another exception."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pylae.config.checks.check import parse_document
from pylae.config.document.load import read
from pylae.errors import ConfigError

FOLDER = Path(__file__).parent / "wrong"
ENVIRON = {"SECRET": "s3cret-value"}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_wrong(file: Path, golden: Callable[[Path, str], None]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document(read(file, ENVIRON))
    text = "".join(f"{problem}\n" for problem in caught.value.problems).replace(str(FOLDER) + "/", "")
    assert "s3cret" not in text
    assert caught.value.problems
    golden(file.with_suffix(".txt"), text)


def test_at_least_forty() -> None:
    assert len(list(FOLDER.glob("*.yaml"))) >= 40
    assert {file.stem for file in FOLDER.glob("*.txt")} == {file.stem for file in FOLDER.glob("*.yaml")}
