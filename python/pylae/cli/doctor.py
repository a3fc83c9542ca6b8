"""`pylae doctor`: checks whether this machine has what a gateway needs, and prints what a bug report needs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pylae.cli import report
from pylae.cli.run import DEFAULTS

if TYPE_CHECKING:
    from pylae.doctor.result import Result

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "failure": ("FAILURE", "red")}
_VARIABLES = ("PYLAE_", "JWT_SECRET", "STATE_DIRECTORY", "XDG_STATE_HOME", "PYTHON", "NO_COLOR")
"""Prefixes of environment variables that affect a gateway or its Python."""


@click.command(short_help="Check whether this machine has what a gateway needs.")
@click.argument("file", required=False, type=click.Path())
@click.option("--report", "as_report", is_flag=True, help="Print what a bug report needs, as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def doctor(file: str | None, as_report: bool, as_json: bool) -> None:
    """Check what a gateway with the configuration FILE needs from this machine, without starting one.

    The default FILE is pylae.yaml or else gateway.py in this directory.

    It checks the configuration, the addresses (and who uses them), limits of descriptors, memory and processors, the
    state folder, secrets and logs, whether collectors accept connections, the clock, and versions. Exits with 1 if a
    gateway would not start or not work.

    With --report it prints a text to paste: versions, figures, and a summary of the configuration. The text contains no
    secrets, and no names, addresses or paths of the configuration.
    """
    found, facts, shape = _looked(Path(file) if file else _default())
    failed = any(one.state == "failure" for one in found)
    if as_json:
        listed = [{"name": one.name, "state": one.state, "message": one.message, "hint": one.hint} for one in found]
        click.echo(json.dumps({"ok": not failed, "results": listed, "facts": facts, "configuration": shape}, indent=2))
    elif as_report:
        for line in _report(found, facts, shape):
            click.echo(line)
    else:
        for one in found:
            _show(one)
        click.echo("\n`pylae doctor --report` prints what a bug report needs, without secrets")
    raise SystemExit(report.PROBLEMS if failed else 0)


def _default() -> Path | None:
    return next((Path(name) for name in DEFAULTS if Path(name).exists()), None)


def _looked(file: Path | None) -> tuple[list[Result], dict[str, str], dict[str, str]]:
    """Returns the results, and facts of the machine and of the configuration."""
    from pylae.doctor import machine, versions

    results = list(versions.results())
    facts = {**versions.facts(), **machine.facts(), "variables": ", ".join(_variables()) or "none"}
    if any(one.state == "failure" for one in results):
        # Without the engine nothing else can be checked.
        return results, facts, {}
    from pylae.doctor import collectors, files, ports

    found = files.configuration(file)
    results += found.results
    results += ports.results(found.config, files.running_process(found))
    results += collectors.results(found.config)
    results += machine.results(found.config)
    results += files.results(found)
    return results, facts, found.shape


def _variables() -> list[str]:
    """Returns the names of the variables that are set. Their values may be secrets."""
    return sorted(name for name in os.environ if name.startswith(_VARIABLES))


def _show(one: Result) -> None:
    mark, colour = _MARKS[one.state]
    click.echo(f"{click.style(f'{mark:7}', fg=colour)}  {click.style(one.name, bold=True)}: {one.message}")
    if one.hint:
        click.echo(f"         {click.style('hint:', fg='cyan')} {one.hint}")


def _report(found: Sequence[Result], facts: dict[str, str], shape: dict[str, str]) -> Iterator[str]:
    """Yields Markdown without any text that a person wrote. Of the results, it has only their topics."""
    yield "### Description"
    yield ""
    yield "(What did you do, what did you expect, and what happened instead?)"
    for title, table in (("Versions and machine", facts), ("The configuration", shape)):
        if table:
            yield from ("", f"### {title}", "", "| | |", "|---|---|")
            yield from (f"| {name} | {_cell(said)} |" for name, said in table.items())
    yield from ("", "### `pylae doctor`", "")
    for one in found:
        # Messages contain paths, addresses and texts of the configuration.
        yield f"- {one.state}: {one.name}"


def _cell(text: str) -> str:
    return text.replace("|", "/")
