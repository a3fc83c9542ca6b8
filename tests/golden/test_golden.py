"""Every YAML file here compiles to the plan in the JSON file beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pylae import Gateway

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_plan(file: Path, golden: Callable[[Path, str], None]) -> None:
    golden(file.with_suffix(".json"), json.dumps(Gateway.from_file(file).plan(), indent=2) + "\n")
