"""`pylae completion`: what a shell needs to complete verbs, options and files."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from pylae.cli.report import Failure

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print what a shell needs to complete words.")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script by which SHELL completes verbs, options and files of pylae when Tab is pressed.

    \b
    For good, in the file that the shell reads when it starts:
      bash   ~/.bashrc    eval "$(pylae completion bash)"
      zsh    ~/.zshrc     eval "$(pylae completion zsh)"
      fish   ~/.config/fish/config.fish    pylae completion fish | source

    bash has to be of version 4.4 or later.
    """
    root = click.get_current_context().find_root()
    kind = get_completion_class(shell)
    if kind is None:
        raise Failure(f"this version of click completes nothing for {shell}")
    name = root.info_name or "pylae"
    click.echo(kind(root.command, {}, name, f"_{name}_COMPLETE".replace("-", "_").upper()).source())
