"""`pylae test`: compares what a configuration decides for requests with what is expected."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pylae.cli import report

if TYPE_CHECKING:
    from pylae.expected.judge import Judged

DEFAULT = "tests.yaml"


@click.command(short_help="Compare what is decided for requests with what is expected.")
@click.argument("file", required=False, type=click.Path())
@click.option(
    "-c", "--config", type=click.Path(), help="The configuration. Default: what FILE names, or else pylae.yaml."
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option("--junit", type=click.Path(), help="Write the results to a file as JUnit XML, for CI.")
@click.option("-v", "--verbose", is_flag=True, help="List the requests that are as expected too.")
@click.pass_context
def test(
    ctx: click.Context, file: str | None, config: str | None, as_json: bool, junit: str | None, verbose: bool
) -> None:
    """Decide the requests in FILE as the gateway would, and compare with what FILE expects. Opens no socket.

    The default FILE is tests.yaml in this directory. Exits with 1 if anything is not as expected, and shows what
    `pylae explain` says of it.

    \b
      requests:
        - {request: GET /api/orders, expect: 401}
        - {request: GET /api/orders, user: {id: 7, role: clerk}, expect: {service: order-service}}
    """
    from pylae.cli.run import default_file
    from pylae.expected import report as told
    from pylae.expected.judge import judge
    from pylae.expected.table import read
    from pylae.gateway import Gateway

    path = Path(file or DEFAULT)
    if file is None and not path.exists():
        raise report.Failure(
            f"there is no {DEFAULT} in this directory", "name the file with the requests", report.USAGE
        )
    started = time.perf_counter()
    table = read(path)
    # This process reads the configuration for nothing else.
    os.environ.update(table.environment)
    named = str(path.parent / table.config) if table.config else None
    builder = Gateway.from_file(config or named or default_file()).builder
    plan = builder.plan()
    judged = judge(table, builder, plan)

    def explain(one: Judged) -> list[str]:
        from pylae.cli import explanation
        from pylae.cli.shown import without_credentials

        if one.decided is None:
            return []
        complete = explanation.complete(one.decided["explanation"], plan, builder)
        return list(explanation.lines(without_credentials(one.request, plan), complete, everything=False))

    seconds = time.perf_counter() - started
    if junit:
        Path(junit).write_text(click.unstyle(told.junit(str(path), judged, explain, seconds)), encoding="utf-8")
    if as_json:
        click.echo(click.unstyle(json.dumps(told.document(judged, explain), indent=2)))
    else:
        for line in told.lines(judged, explain, seconds, everything=verbose):
            click.echo(line)
    if not all(one.passed for one in judged):
        ctx.exit(report.PROBLEMS)
