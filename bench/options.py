"""Options that several commands of the bench have."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_pylae(parser: argparse.ArgumentParser) -> None:
    """Which gateway is measured."""
    parser.add_argument("--pylae", type=Path, help="the pylae command of another build; default: pylae in .venv")


def add_load(parser: argparse.ArgumentParser) -> None:
    """What asks it."""
    parser.add_argument("--load", type=Path, help="a built pylae-bench-load; default: cargo builds it")
