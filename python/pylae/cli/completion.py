"""`pylae completion`: shell completion for verbs, options and files."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from pylae.cli.report import Failure

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print the completion script for a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that lets SHELL complete commands, options and files of pylae with Tab.

    \b
    To install it, add this to the start-up file of the shell:
      bash   ~/.bashrc    eval "$(pylae completion bash)"
      zsh    ~/.zshrc     eval "$(pylae completion zsh)"
      fish   ~/.config/fish/config.fish    pylae completion fish | source

    bash needs version 4.4 or later.
    """
    root = click.get_current_context().find_root()
    kind = get_completion_class(shell)
    if kind is None:
        raise Failure(f"the installed version of click has no completion for {shell}")
    name = root.info_name or "pylae"
    click.echo(kind(root.command, {}, name, f"_{name}_COMPLETE".replace("-", "_").upper()).source())
