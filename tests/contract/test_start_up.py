"""What a command does not import, because whoever types it would wait for that."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("alembic", "asyncio", "dns", "fastapi", "multiprocessing", "pydantic", "sqlalchemy", "uvicorn", "yaml")


def imported(program: str) -> set[str]:
    told = f"import json, sys; {program}; print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in json.loads(found.stdout.splitlines()[-1])} & set(HEAVY)


@pytest.mark.parametrize(
    ("program", "needed"),
    [
        ("import pylae.cli; pylae.cli.main(['--help'], standalone_mode=False)", set()),
        ("import pylae.gateway", {"pydantic", "yaml"}),
    ],
    ids=["help", "check"],
)
def test_nothing_heavy_is_imported_before_it_is_needed(program: str, needed: set[str]) -> None:
    assert imported(program) == needed
