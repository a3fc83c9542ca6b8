"""Output of failures: one line and a hint each, with a documented exit code, and never a traceback."""

from __future__ import annotations

import difflib
import os
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pylae.errors import Problem

PROBLEMS, USAGE, FAILED, FAULT, INTERRUPTED = 1, 2, 3, 70, 130


class Failure(click.ClickException):
    """Ends a verb at run time, with one line and a hint."""

    def __init__(self, message: str, hint: str | None = None, code: int = FAILED, *, status: int | None = None) -> None:
        """`status` is that of an answer which says it."""
        super().__init__(message)
        self.hint = hint
        self.code = code
        self.status = status


def unknown_verb(name: str, verbs: Sequence[str], ctx: click.Context) -> click.UsageError:
    """Returns the error for a verb that does not exist. It suggests the nearest one."""
    nearest = difflib.get_close_matches(name, verbs, 1, 0.5)
    meant = f"did you mean {nearest[0]!r}?" if nearest else f"the commands are {', '.join(verbs)}"
    return click.UsageError(f"there is no command {name!r}: {meant}", ctx)


def failure(error: Exception) -> int:
    """Prints a failure to standard error and returns the exit code for it."""
    from pylae.errors import ConfigError, PylaeError

    if isinstance(error, click.Abort):
        return INTERRUPTED
    if os.environ.get("PYLAE_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, click.UsageError):
        return _say(error.format_message(), _usage_hint(error), USAGE)
    if isinstance(error, Failure):
        return _say(error.message, error.hint, error.code)
    if isinstance(error, ConfigError):
        problems(error.problems)
        return PROBLEMS
    if isinstance(error, PylaeError):
        return _say(str(error), getattr(error, "hint", None), FAILED)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror or error}", None, FAILED)
    return _say(
        f"internal error of Pylae: {type(error).__name__}: {error}",
        "please report it; PYLAE_DEBUG=1 shows the traceback",
        FAULT,
    )


def problems(found: Sequence[Problem], kind: str = "") -> None:
    """Prints problems of a configuration to standard error, as `file:line:column: path: message` with a hint."""
    for problem in found:
        place = ":".join(str(part) for part in (problem.file, problem.line, problem.column) if part)
        where = "".join(f"{part}: " for part in (problem.path, kind) if part)
        _line(f"{click.style(f'{place}: ', bold=True) if place else ''}{where}{problem.message}")
        if problem.hint:
            hint(problem.hint)


def hint(text: str) -> None:
    """Prints what to do about the previous line."""
    _line(f"  {click.style('hint:', fg='cyan')} {text}")


def _say(message: str, advice: str | None, code: int) -> int:
    _line(f"{click.style('pylae:', fg='red', bold=True)} {message}")
    if advice:
        hint(advice)
    return code


def _usage_hint(error: click.UsageError) -> str | None:
    return f"{error.ctx.command_path} --help" if error.ctx else "pylae --help"


def _line(text: str) -> None:
    """Prints to standard error. The click context, which knows NO_COLOR, may be gone by now."""
    click.echo(text, err=True, color=False if os.environ.get("NO_COLOR") else None)
