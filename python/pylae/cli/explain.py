"""`pylae explain`: what the gateway would do with a request, and which lines of the configuration decide it."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem

from pylae.cli.run import default_file

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


def _propose(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes a word of the request: a method, or a file."""
    methods = [CompletionItem(method) for method in _METHODS if incomplete and method.startswith(incomplete.upper())]
    return methods or [CompletionItem(incomplete, type="file")]


@click.command(short_help="Explain what would happen to a request.")
@click.argument("what", nargs=-1, metavar="[FILE] METHOD URL", shell_complete=_propose)
@click.option(
    "-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header field of the request."
)
@click.option("--client", default="127.0.0.1", metavar="IP", help="Address of the client. Default: 127.0.0.1.")
@click.option("--all", "everything", is_flag=True, help="List all routes that were considered.")
@click.option("--json", "as_json", is_flag=True, help="Print the explanation as JSON.")
def explain(what: tuple[str, ...], headers: tuple[str, ...], client: str, everything: bool, as_json: bool) -> None:
    """Explain what the configuration FILE does with the request METHOD URL. Sends nothing and opens no socket.

    The default FILE is pylae.yaml or else gateway.py in this directory.

    Shows the route and why it was chosen, the other routes and why they were rejected, each policy with its settings,
    their origin and its decision, and how an instance of the service is picked.

    \b
    URL is a path, or a full URL with a host:
      pylae explain GET /api/users/42
      pylae explain shop.yaml POST https://shop.example/api/orders -H 'X-Tenant: blue'
    """
    from pylae import engine
    from pylae.cli import explanation, shown
    from pylae.config.plan import json_of
    from pylae.gateway import Gateway

    if len(what) not in (2, 3):
        problem = "Missing argument 'METHOD URL'." if len(what) < 2 else f"Got unexpected extra argument ({what[3]})"
        raise click.UsageError(problem, click.get_current_context())
    method, url = what[-2:]
    request = request_of(method, url, headers, client)
    file = what[0] if len(what) == 3 else default_file()
    builder = Gateway.from_file(file).builder
    plan = builder.plan()
    answer = engine.explain(json_of(plan), json.dumps(request))
    complete = explanation.complete(answer, plan, builder)
    request = shown.without_credentials(request, plan)
    if as_json:
        click.echo(json.dumps({"request": request, **complete}, indent=2))
        return
    for line in explanation.lines(request, complete, everything):
        click.echo(line)


def request_of(method: str, url: str, headers: Iterable[str], client: str) -> dict[str, Any]:
    """Returns the request in the form of the native side: the target as a client would send it, the host as a field."""
    host, target = _split(url)
    fields = [] if host is None else [["Host", host]]
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise click.UsageError(
                f"a field must be written as 'Name: value', not {header!r}", click.get_current_context()
            )
        fields.append([name.strip(), value.strip()])
    try:
        ipaddress.ip_address(client)
    except ValueError:
        raise click.UsageError(f"{client!r} is not an IP address", click.get_current_context()) from None
    secure = url.lower().startswith("https://")
    return {"method": method.upper(), "target": target, "headers": fields, "client": client, "secure": secure}


def _split(url: str) -> tuple[str | None, str]:
    """Returns host and target of a URL. The target stays as typed, so that the explanation can show its canonical
    form.
    """
    url = url.partition("#")[0]
    if url.startswith("/") or url == "*":
        return None, url
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise click.UsageError(f"URL must begin with /, http:// or https://, not {url!r}", click.get_current_context())
    end = next((index for index, character in enumerate(rest) if character in "/?"), len(rest))
    target = rest[end:]
    return rest[:end].rpartition("@")[2], target if target.startswith("/") else f"/{target}"
