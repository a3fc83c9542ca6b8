"""What a person sees of a roll-out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from pylae.cli.changes import clean
from pylae.cli.remote import Remote
from pylae.cli.report import PROBLEMS, Failure

_LOOK = 0.3
"""Seconds between two looks at a roll-out."""
_FOLLOW = 10.0
"""Seconds that nodes may take to follow, until it is said who does not."""
_WORDS: Mapping[str, str] = {
    "checking": "configuration {number} is checked by all nodes",
    "admitting": "configuration {number}: {first} gets it first",
    "observing": "configuration {number}: {first} is observed for {observe:g} s",
    "done": "configuration {number} is for all nodes: {verdict}",
    "refused": "configuration {number} was refused: {verdict}",
    "taken_back": "configuration {number} was taken back: {verdict}",
    "cancelled": "configuration {number} was cancelled: {verdict}",
}


def begun(gateway: Remote, outcome: Mapping[str, Any], wait: bool) -> bool:
    """Prints the warnings about a configuration, and follows its roll-out to the end if asked.

    Returns whether there is a roll-out. Raises Failure if it was refused or taken back.
    """
    for warning in outcome["warnings"]:
        click.secho(f"{warning['path']}: {warning['message']}", fg="yellow", err=True)
    number = outcome["rollout"]
    if number is None:
        return False
    click.echo(f"configuration {number} is being rolled out")
    if wait:
        _follow(gateway, number)
    return True


def _follow(gateway: Remote, number: int) -> None:
    """Prints each step of a roll-out."""
    before: str | None = None
    while True:
        state, words = _state(gateway)
        if state is not None and state["number"] != number:
            raise Failure(f"configuration {number} has ended: {state['number']} is being rolled out by now")
        if words != before:
            click.echo(words)
            before = words
        if state is not None and state["ended"] is not None:
            break
        time.sleep(_LOOK)
    for problem in state["problems"]:
        click.echo(f"  {clean(problem)}", err=True)
    if state["stage"] != "done":
        stays = f"configuration {state['previous']} stays in force" if state["previous"] else "none is in force"
        raise Failure(stays, "change it, and apply it again", PROBLEMS)
    _tell_late(gateway, number)


def _state(gateway: Remote) -> tuple[Any, str]:
    """The latest roll-out, and what is to be said of it; None while the store does not tell."""
    try:
        state = gateway.get("/rollout")
    except Failure as error:
        if error.status != 503:
            raise
        return None, f"the roll-out stands still: {error.message}"
    return state, _said(state)


def _said(state: Mapping[str, Any]) -> str:
    return clean(_WORDS[state["stage"]].format_map(state))


def told(state: Mapping[str, Any]) -> None:
    """Prints how far a roll-out is."""
    click.echo(_said(state))


def _tell_late(gateway: Remote, number: int) -> None:
    """Waits until all nodes have it, and says which ones have not."""
    until = time.monotonic() + _FOLLOW
    while True:
        nodes = gateway.get("/fleet")["nodes"]
        late = [node for node in nodes if node["in_force"] != number]
        if not late or time.monotonic() > until:
            break
        time.sleep(_LOOK)
    click.echo(f"{click.style('ok', fg='green')} {len(nodes) - len(late)} of {len(nodes)} nodes have it")
    for node in late:
        why = "; ".join(node["problems"]) or "it does not say why"
        click.secho(f"{clean(node['name'])} has configuration {node['in_force']}: {clean(why)}", fg="yellow", err=True)
