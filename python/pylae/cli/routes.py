"""`pylae routes`: shows the routes of a configuration as a table."""

from __future__ import annotations

import json
from typing import Any

import click

from pylae.cli.run import default_file
from pylae.cli.table import columns


@click.command(short_help="Show the routes as a table.")
@click.argument("file", required=False, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print the routes of the plan as JSON, with their places.")
def routes(file: str | None, as_json: bool) -> None:
    """Show the routes of the configuration FILE in the order of their declaration, with their places.

    The default FILE is pylae.yaml or else gateway.py in this directory.

    The most specific route takes a request, whatever this order: see `pylae explain`.
    """
    from pylae.gateway import Gateway

    builder = Gateway.from_file(file or default_file()).builder
    plan = builder.plan()
    listed = plan["routes"]
    places = [builder.locate(plan, f"routes[{index}]", key=True) for index in range(len(listed))]
    if as_json:
        told = [{**route, "place": str(place)} for route, place in zip(listed, places, strict=True)]
        click.echo(json.dumps(told, indent=2))
        return
    header = ("NAME", "METHODS", "PATH", "CONDITIONS", "SERVICE", "POLICIES", "WHERE")
    where = [f"{place.file}:{place.line}" if place.file else "" for place in places]
    rows = [_row(route, at) for route, at in zip(listed, where, strict=True)]
    for line in columns(header, rows):
        click.echo(line)


def _row(route: dict[str, Any], where: str) -> tuple[str, ...]:
    match = route["match"]
    path = match["path"]
    return (
        route["name"],
        "|".join(match["methods"]) or "any",
        f"{path['kind']} {path['value']}",
        " ".join(_conditions(route)),
        _service(route),
        " ".join(sorted(route["policies"])),
        where,
    )


def _service(route: dict[str, Any]) -> str:
    """Returns the service, or the members of the split with their shares and conditions."""
    if not route["split"]:
        return route["service"] or "-"
    members = route["split"]["members"]
    total = sum(member["weight"] for member in members)
    told = []
    for member in members:
        parts = [f"{member['weight']}/{total}"] if member["weight"] or not member["when"] else []
        told.append(" ".join([member["service"], *parts, *(["when"] if member["when"] else [])]))
    return ", ".join(told)


def _conditions(route: dict[str, Any]) -> list[str]:
    match = route["match"]
    found = [f"host={'|'.join(match['hosts'])}"] if match["hosts"] else []
    for kind in ("headers", "query"):
        word = kind.removesuffix("s")
        found += [f"{word}:{condition['name']}{_test(condition['value'])}" for condition in match[kind]]
    if route["priority"]:
        found.append(f"priority={route['priority']}")
    return found


def _test(value: str | dict[str, str]) -> str:
    if isinstance(value, str):  # "present"
        return ""
    return f"={value['equals']}" if "equals" in value else f"~{value['pattern']}"
