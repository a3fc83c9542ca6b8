"""The dashboard beside the demo: a process of its own, which looks at the gateways of the demo."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from pylae.cli.dashboard import EXTRA, is_installed
from pylae.cli.demo_lines import tell
from pylae.demo.processes import DemoProcess

_PATIENCE = 5.0
"""Seconds that it has to end."""


@contextmanager
def beside(folders: Sequence[Path], *, wanted: bool) -> Iterator[None]:
    """Runs the dashboard for the gateways with these state folders, if it is wanted; says what it lacks, if it does."""
    if not wanted:
        yield
        return
    if not is_installed():
        click.echo(f"\nA dashboard for it in the browser: pip install '{EXTRA}'")
        yield
        return
    states = [word for folder in folders for word in ("--state", str(folder))]
    # What it prints passes through a pipe, so it cannot know whether somebody reads it.
    link = "--link" if sys.stdout.isatty() else "--no-link"
    command = (sys.executable, "-m", "pylae", "dashboard", *states, link)
    process = DemoProcess(command, lambda line, _: tell(line), _ended)
    try:
        yield
    finally:
        process.terminate()
        process.stop(_PATIENCE)


def _ended(code: int) -> None:
    if code > 0:
        tell(click.style("The dashboard has ended. The gateway goes on.", fg="red"))
