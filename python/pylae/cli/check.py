"""`pylae check`: finds every mistake in a configuration, without starting anything."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import click

from pylae.cli import report
from pylae.cli.run import default_file

if TYPE_CHECKING:
    from pylae.config.document.load import Document


@click.command(short_help="Find every mistake in a configuration.")
@click.argument("file", required=False, type=click.Path())
def check(file: str | None) -> None:
    """Check the configuration FILE (YAML, or Python with a module-level `gateway`).

    The default FILE is pylae.yaml or else gateway.py in this directory. Files that it includes are checked too.

    Prints each problem as `file:line:column: path: message` with a hint, and exits with 1 if there is one. Warnings,
    such as a route that never matches, do not change the exit code.
    """
    from pylae.config.collector import without_collector

    # Imports, too.
    with without_collector():
        from pylae.gateway import Gateway
        from pylae.units import counted

        file = file or default_file()
        builder = Gateway.from_file(file).builder
        plan = builder.plan()
        warnings = builder.check(plan)
        if builder.config.hooks.processes:
            from pylae.hooks.hosts import forks

            forks.check(builder, plan)
        # Nor does Python look through all of it once it may again: it is needed until the end.
        gc.freeze()
    report.problems(warnings, "warning")
    counts = [counted(len(plan[what]), what) for what in ("routes", "services")]
    ending = f", {counted(len(warnings), 'warnings')}" if warnings else ""
    included = included_files(builder.document)
    also = f" and {counted(len(included), 'files')} included" if included else ""
    click.echo(f"{click.style('ok', fg='green')} {file}{also}: {', '.join(counts)}{ending}")
    for name in included:
        click.echo(f"   {name}")


def included_files(document: Document | None) -> list[str]:
    """Returns the files that a configuration includes."""
    from pylae.config.document.include import Pattern

    included = document.included if document else ()
    return [str(name) for name in included if not isinstance(name, Pattern)]
