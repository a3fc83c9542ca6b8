"""The `pylae` command. Each verb is a module, which is imported when it is called."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from pylae.cli import report

VERBS = (
    "admin",
    "apply",
    "check",
    "completion",
    "dashboard",
    "demo",
    "diff",
    "doctor",
    "drain",
    "explain",
    "history",
    "init",
    "log",
    "maintenance",
    "new",
    "nodes",
    "purge",
    "reload",
    "revoke",
    "rollback",
    "routes",
    "run",
    "schema",
    "status",
    "store",
    "tail",
    "test",
    "token",
    "top",
    "trace",
)

HELP = """An API gateway: configured in YAML or Python, native where requests pass.

\b
Start here:
  pylae demo                 a whole shop with a gateway in front, to play with
  pylae new gateway          write a commented gateway with tests (--python: a program)
  pylae check                find every mistake in it
  pylae run                  run it
  pylae doctor               see whether this machine has what it needs
"""

EPILOG = """\b
Exit codes:
  0    done (for run: stopped by SIGTERM or SIGINT and drained)
  1    the configuration has problems, all of which were printed; for test: something is not as expected
  2    the command was called wrongly
  3    something failed at run time, such as an address that is in use
  70   a fault in Pylae itself; PYLAE_DEBUG=1 shows where
  130  interrupted
\b
Colours appear on terminals only, and never when NO_COLOR is set.
"""


class Verbs(click.Group):
    """A command group whose verbs are modules. Every failure prints one line and a hint, and has a documented exit
    code.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Returns the verbs in the order of the help page."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Imports the module of a verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(importlib.import_module(f"pylae.cli.{cmd_name}"), cmd_name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Shows the help if there are no arguments."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(report.USAGE)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggests the nearest verb for one that does not exist."""
        if args and not args[0].startswith("-") and args[0] not in VERBS and not ctx.resilient_parsing:
            raise report.unknown_verb(args[0], VERBS, ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Calls the verb. A closed pipe at its output is not a failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            ctx.exit(0)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs a verb and exits with its code. Every failure goes through `report.failure`."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name or "pylae", complete_var, standalone_mode=False, **extra)
        except Exception as error:
            code = report.failure(error)
        # Python looks for cycles once more before it ends, through all that was imported and read: a sixth of the time
        # of most verbs, for memory that is given back anyway.
        atexit.register(gc.freeze)
        sys.exit(code if isinstance(code, int) else 0)


def show_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Prints the version of the installed distribution."""
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"pylae {version('pylae')}")
        except PackageNotFoundError:
            click.echo("pylae (not installed)")
        ctx.exit()


@click.group(
    "pylae",
    cls=Verbs,
    help=HELP,
    epilog=EPILOG,
    subcommand_metavar="VERB [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Show the version and exit.",
)
@click.pass_context
def main(ctx: click.Context) -> None:
    """Runs before every verb."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
