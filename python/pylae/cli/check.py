"""`pylae check`: every mistake in a configuration, found without starting anything."""

from __future__ import annotations

import click

from pylae.cli import report
from pylae.cli.run import default_file


@click.command(short_help="Find every mistake in a configuration.")
@click.argument("file", required=False)
def check(file: str | None) -> None:
    """Check the configuration FILE (YAML, or Python with a module-level `gateway`).

    Without FILE it is pylae.yaml, or else gateway.py, of this directory.

    Prints every problem as `file:line:column: path: message` with a hint, and exits with 1 if there is one. Warnings,
    such as a route that can never match, do not change the exit code.
    """
    from pylae.gateway import Gateway

    file = file or default_file()
    gateway = Gateway.from_file(file)
    warnings = gateway.check()
    report.problems(warnings, "warning")
    plan = gateway.plan()
    counts = [f"{len(plan[what])} {what if len(plan[what]) != 1 else what[:-1]}" for what in ("routes", "services")]
    ending = f", {len(warnings)} warning{'s' * (len(warnings) != 1)}" if warnings else ""
    click.echo(f"{click.style('ok', fg='green')} {file}: {', '.join(counts)}{ending}")
