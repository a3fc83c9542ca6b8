"""`pylae apply`: puts a configuration in force, on all nodes of a fleet if there is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote
from pylae.cli.report import USAGE, Failure
from pylae.cli.rollouts import begun, told

_INCLUDES = re.compile(r"^include\s*:", re.MULTILINE)


@click.command(short_help="Put a configuration in force, on all nodes.")
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@click.option("--wait", is_flag=True, help="Wait for the end of the roll-out, and print how it goes.")
@click.option("--now", is_flag=True, help="For all nodes at once, without observing the first one.")
@click.option("--reason", metavar="TEXT", help="Why, for the history.")
@click.option("--cancel", is_flag=True, help="End the roll-out that is going on, and return to what was before.")
@options
def apply(gateway: Remote, file: str | None, wait: bool, now: bool, reason: str | None, cancel: bool) -> None:
    """Put the configuration in FILE in force, completely or not at all.

    If gateways share a store, FILE has what all of them have in common. It is checked by all nodes, gets to one of
    them, is observed there, and then gets to all, or is taken back. Without a shared store it replaces the
    configuration of the running gateway until that one's own file changes.

    The exit code is 1 if the configuration has problems, was refused by a node or, with --wait, was taken back.
    """
    if cancel == (file is not None):
        raise Failure("give a FILE, or --cancel, and not both", "pylae apply gateway.yaml", USAGE)
    if file is None:
        told(gateway.post("/rollout/cancel"))
        return
    outcome = _sent(gateway, file, now, reason)
    if not begun(gateway, outcome, wait):
        click.echo(f"{click.style('ok', fg='green')} applied revision {outcome['revision']}")


def _sent(gateway: Remote, file: str, now: bool, reason: str | None) -> Any:
    from dataclasses import replace

    from pylae.errors import ConfigError

    text = _text(Path(file))
    try:
        return gateway.post("/config", text, "PUT", match="*", reason=reason, now="true" if now else None)
    except ConfigError as error:
        # The gateway names its own file, next to which names of files count.
        raise ConfigError([replace(problem, file=file) for problem in error.problems]) from None


def _text(file: Path) -> bytes:
    """Returns the document; with all files that it includes, if there are any."""
    data = file.read_bytes()
    if not _INCLUDES.search(data.decode("utf-8", "replace")):
        return data
    import json

    from pylae.config.document.include import read_whole
    from pylae.config.document.written import as_written

    return json.dumps(as_written(read_whole(file, _Anything()).root)).encode()


class _Anything(dict[str, str]):
    """An environment in which each variable is set: only the nodes know what references stand for."""

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ARG002
        """Returns a value for each name."""
        return "x"
