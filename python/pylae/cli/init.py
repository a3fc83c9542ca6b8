"""`pylae init`: writes a commented configuration."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from pylae.cli.report import Failure


@click.command(short_help="Write a commented configuration.")
@click.argument("file", default="pylae.yaml", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def init(file: Path, force: bool) -> None:
    """Write a commented configuration to FILE (default: pylae.yaml).

    If the name ends in .py, write a Python program. An existing file is kept unless --force is given.
    """
    name = "starter.py" if file.suffix == ".py" else "starter.yaml"
    starter = files("pylae.cli").joinpath(name).read_text(encoding="utf-8")
    try:
        with file.open("w" if force else "x", encoding="utf-8") as target:
            target.write(starter)
    except FileExistsError:
        raise Failure(f"{file} exists", "choose another name, or overwrite it with --force") from None
    click.echo(f"Wrote {file}. Next: pylae check {file}, then pylae run {file}")
