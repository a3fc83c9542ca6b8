"""`pylae admin`: tokens of the admin API, and the audit of what was done with them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote, part
from pylae.cli.report import USAGE, Failure
from pylae.cli.table import columns

_LOOK = 1.0
"""Seconds between two looks of `audit --follow`."""
_PAGE = 1000
"""Lines of the audit that are asked for at once."""

_as_json = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")


def _help_alone(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(USAGE)


@click.group(short_help="Manage tokens of the admin API; look at the audit.", invoke_without_command=True)
@click.pass_context
def admin(ctx: click.Context) -> None:
    """Manage tokens of the admin API, and look at what was done with them."""
    _help_alone(ctx)


@admin.group(short_help="Make, list, rotate and revoke tokens.", invoke_without_command=True)
@click.pass_context
def token(ctx: click.Context) -> None:
    """Make, list, rotate and revoke tokens of the admin API."""
    _help_alone(ctx)


@token.command(short_help="Make a token, and show its secret once.")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar="SCOPE",
    help="read, operate, configure or register:SERVICE. Give it several times for several.",
)
@click.option("--expires", default="90d", show_default=True, help="How long it lasts, at most 366d.")
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="NET",
    help="Network of the instances that it may register. Default: only at the caller's own address.",
)
@click.option(
    "--max-instances",
    type=click.IntRange(1, 4096),
    default=16,
    show_default=True,
    help="How many instances of a service it may have registered.",
)
@_as_json
@options
def create(
    gateway: Remote,
    name: str,
    scopes: Sequence[str],
    expires: str,
    addresses: Sequence[str],
    max_instances: int,
    as_json: bool,
) -> None:
    """Make the token NAME, and print its secret. It is shown only now, and only a hash of it is kept.

    \b
    read              look at everything
    operate           drain, reset, purge, revoke, watch exchanges; and read
    configure         put configurations in force, manage tokens; and read
    register:SERVICE  register instances of one service, and nothing else
    """
    wanted: dict[str, Any] = {"name": name, "scopes": list(scopes), "expires": expires}
    wanted |= {"addresses": list(addresses), "max_instances": max_instances}
    _issued(gateway.post("/tokens", wanted), as_json)


@token.command("list", short_help="List tokens, without their secrets.")
@_as_json
@options
def list_(gateway: Remote, as_json: bool) -> None:
    """List the tokens: what they allow, until when, and when this gateway last saw them."""
    found = gateway.get("/tokens")
    if as_json:
        click.echo(json.dumps(found["tokens"], indent=2))
        return
    rows = [
        (
            one["name"],
            one["state"],
            " ".join(one["scopes"]),
            _day(one["expires"]),
            one["by"],
            _minute(one["last_used"]) if one["last_used"] else "",
            " ".join(one["addresses"]),
        )
        for one in found["tokens"]
    ]
    for line in columns(("NAME", "STATE", "SCOPES", "EXPIRES", "BY", "LAST USED", "ADDRESSES"), rows):
        click.echo(line)


@token.command(short_help="Give a token another secret.")
@click.argument("name")
@click.option("--overlap", default="1h", show_default=True, help="How long the secret before stays valid, at most 7d.")
@click.option("--expires", default=None, help="How long the token lasts from now. Default: as long as it was made to.")
@_as_json
@options
def rotate(gateway: Remote, name: str, overlap: str, expires: str | None, as_json: bool) -> None:
    """Give the token NAME another secret, and print it. The one before stays valid for a while.

    With --overlap 0, the secret before ends at once.
    """
    how = {"overlap": overlap} | ({"expires": expires} if expires else {})
    _issued(gateway.post(f"/tokens/{part(name)}/rotate", how), as_json)


@token.command(short_help="End a token at once.")
@click.argument("name")
@_as_json
@options
def revoke(gateway: Remote, name: str, as_json: bool) -> None:
    """End the token NAME at once. All nodes of a shared store refuse it within two seconds."""
    revoked = gateway.post(f"/tokens/{part(name)}", method="DELETE")
    click.echo(json.dumps(revoked, indent=2) if as_json else f"{name} is revoked")


def _issued(issued: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(issued, indent=2))
        return
    one = issued["token"]
    click.echo(issued["secret"])
    until = f"; the secret before is valid until {_minute(one['rotating'])}" if one["rotating"] else ""
    said = f"{one['name']}: {' '.join(one['scopes'])}, until {_day(one['expires'])}{until}; this is shown only now"
    click.echo(said, err=True)


@admin.command(short_help="Show who has changed what.")
@click.option("-n", "--lines", "most", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many.")
@click.option("--since", metavar="TIME", help="Not before: a duration such as 2h, or a time such as 2026-05-04T10:00Z.")
@click.option("--who", metavar="NAME", help="Only this caller: a token, admin or local.")
@click.option("--path", metavar="PATH", help="Only paths that begin with this, such as /config.")
@click.option("--follow", is_flag=True, help="Go on with new lines as they come.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each line.")
@options
def audit(
    gateway: Remote,
    most: int,
    since: str | None,
    who: str | None,
    path: str | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Show the calls that have changed something, and those that were refused for want of a scope; latest last."""
    given = {"since": _since(since) if since else None, "who": who, "path": path}
    query = {name: value for name, value in given.items() if value is not None}
    lines = _lines(gateway, most, query)
    for line in lines:
        _show(line, as_json)
    after = lines[-1]["id"] if lines else None
    while follow:
        time.sleep(_LOOK)
        for line in _lines(gateway, 100_000, query | ({"after": after} if after else {})):
            _show(line, as_json)
            after = line["id"]


def _lines(gateway: Remote, most: int, query: dict[str, str]) -> list[dict[str, Any]]:
    """Returns lines, oldest first."""
    found: list[dict[str, Any]] = []
    page: dict[str, Any] = {"next": None}
    while len(found) < most:
        asked = {**query, "most": str(min(_PAGE, most - len(found)))}
        page = gateway.get("/audit", **asked, **({"before": page["next"]} if page["next"] else {}))
        found += page["lines"]
        if page["next"] is None:
            break
    return found[::-1]


def _show(line: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(line))
        return
    who = f"{line['who']} ({line['user']})" if line["user"] else line["who"]
    place = f" from {line['address']}" if line["address"] else ""
    said = " ".join(f"{name}={_value(value)}" for name, value in line["arguments"].items())
    status = click.style(str(line["status"]), fg="green" if line["status"] < 400 else "red")
    detail = f": {line['detail']}" if line["detail"] else ""
    detail += f" ({line['times']} times)" if line["times"] > 1 else ""
    head = f"{line['time'][:19]}Z {line['node']} {who}{place}"
    click.echo(" ".join(filter(None, (head, line["method"], line["path"], said, status))) + detail)


def _value(value: Any) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"\S+", value) else json.dumps(value)


def _since(text: str) -> str:
    from pylae.units import parse_duration

    try:
        return (datetime.now(UTC) - parse_duration(text)).isoformat()
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        hint = "write a duration such as 2h, or a time such as 2026-05-04T10:00Z"
        raise Failure(f"--since {text!r} is no time", hint, USAGE) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


def _day(text: str) -> str:
    at = datetime.fromisoformat(text)
    # Short lives are said to the minute.
    return _minute(text) if at - datetime.now(UTC) < timedelta(days=2) else at.strftime("%Y-%m-%d")


def _minute(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%MZ")
