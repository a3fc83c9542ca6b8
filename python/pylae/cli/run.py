"""`pylae run`: serves until told to stop."""

from __future__ import annotations

from pathlib import Path

import click

from pylae.cli import stderr
from pylae.cli.report import USAGE, Failure

#: The files to run if none is given, in this order.
DEFAULTS = ("pylae.yaml", "gateway.py")


@click.command(short_help="Run a gateway.")
@click.argument("file", required=False, type=click.Path())
def run(file: str | None) -> None:
    """Run the configuration FILE (YAML, or Python with a module-level `gateway`).

    The default FILE is pylae.yaml or else gateway.py in this directory. When the file changes, or on SIGHUP, the new
    configuration is applied without dropping a request. If it has problems, they are printed and the old one stays in
    force.

    SIGTERM and SIGINT (Ctrl-C) stop accepting connections, let requests in progress finish within `drain_timeout`, and
    exit with 0. A second signal ends them at once.
    """
    from pylae.config.collector import without_collector
    from pylae.runtime.memory import settle

    stderr.without_waiting()
    stderr.to_standard_error()
    # Imports, too.
    with without_collector():
        from pylae.gateway import Gateway

        gateway = Gateway.from_file(file or default_file())
        settle()
    gateway.run()


def default_file() -> str:
    """Returns the configuration of this directory, for verbs without FILE. Raises Failure."""
    for name in DEFAULTS:
        if Path(name).exists():
            return name
    raise Failure(
        f"there is neither {' nor '.join(DEFAULTS)} in this directory",
        f"give a file: {click.get_current_context().command_path} FILE; `pylae new gateway` writes one",
        USAGE,
    )
