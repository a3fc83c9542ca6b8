"""Programs that tests use and that the project does not install."""

from __future__ import annotations

import shutil

import pytest


def program(name: str, package: str | None = None) -> str:
    """The path of a program. The test is skipped, with the Debian package to install, where it is absent."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian's package {package or name} has it)")
    return found
