"""`pylae trace`: one exchange of a running gateway, step by step, with times."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote
from pylae.cli.report import Failure


@click.command(short_help="Show one request step by step.")
@click.argument("trace", required=False, metavar="[ID]")
@click.option("--route", help="Only requests to this route.")
@click.option(
    "-H", "--header", "headers", multiple=True, metavar="'NAME[: VALUE]'", help="Only requests with this field."
)
@click.option("--path", help="Only requests with this path; '/orders/*' stands for a beginning.")
@click.option("--method", help="Only requests with this method.")
@click.option("--status", help="Only requests with this status: 404, or 5xx.")
@click.option("--count", type=click.IntRange(1, 100), default=1, help="Number of requests. Default: 1.")
@click.option("--timeout", type=click.FloatRange(0.1, 3600), default=60.0, help="Seconds to wait. Default: 60.")
@click.option("--all", "everything", is_flag=True, help="Show all routes, settings and fields.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.option(
    "--token", "only_token", is_flag=True, help="Print a field that has one request traced, for five minutes."
)
@click.option("--curl", metavar="URL", help="Print the same as a command that sends a request to URL.")
@options
def trace(
    gateway: Remote,
    trace: str | None,
    everything: bool,
    as_json: bool,
    only_token: bool,
    curl: str | None,
    **wanted: Any,
) -> None:
    """Wait for the next request that fits, and show each stage of it with its time: the route and why, the verdict of
    every policy, waits, the instance and why, attempts, hooks, the cache and the answer. Credentials are masked.

    With ID, show a trace that the gateway has kept: it does so for ten minutes.

    \b
    pylae trace --route orders --status 5xx     the next failure of a route
    pylae trace --curl https://shop.example/    a command whose request is traced, and no other
    """
    if only_token or curl:
        _give_token(gateway, curl, as_json)
        return
    found = [gateway.get(f"/traces/{trace}")] if trace else _watch(gateway, **wanted)
    number = 0
    for number, document in enumerate(found, 1):
        if as_json:
            click.echo(json.dumps(document))
            continue
        from pylae.cli import traced

        if number > 1:
            click.echo()
        for line in traced.lines(document, everything):
            click.echo(line)
    if not number:
        raise Failure(
            f"no request that fits came within {wanted['timeout']:g} s", "--timeout waits longer; pylae tail shows all"
        )


def _watch(
    gateway: Remote,
    headers: tuple[str, ...],
    count: int,
    timeout: float,
    **wanted: str | None,
) -> Iterator[dict[str, Any]]:
    """Yields the traces of the next requests that fit."""
    given = [(name, value) for name, value in wanted.items() if value is not None]
    given += [("header", header) for header in headers]
    query = urlencode([*given, ("count", count), ("timeout", timeout)])
    for event, data in gateway.events(f"/traces/watch?{query}"):
        if event == "over":
            return
        yield json.loads(data)


def _give_token(gateway: Remote, url: str | None, as_json: bool) -> None:
    """Prints a token, or a command that uses it, and how to read the trace then."""
    made = gateway.post("/traces", {})
    field = f"{made['field']}: {made['token']}"
    if as_json:
        click.echo(json.dumps(made))
        return
    click.echo(f"curl -H {shlex.quote(field)} {shlex.quote(url)}" if url else field)
    click.echo(f"then: pylae trace {made['id']}", err=True)
