"""Configurations that only the native side can refuse: its problems come back with file, line and column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pylae import ConfigError, Gateway

FOLDER = Path(__file__).parent / "wrong"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_wrong(file: Path, golden: Callable[[Path, str], None]) -> None:
    with pytest.raises(ConfigError) as caught:
        Gateway.from_file(file).check()
    assert all(problem.line and problem.column and problem.path for problem in caught.value.problems)
    text = "".join(f"{problem}\n" for problem in caught.value.problems).replace(f"{FOLDER}/", "")
    golden(file.with_suffix(".txt"), text)
