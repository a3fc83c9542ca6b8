"""`pylae new`: writes a starter gateway, plugin or authenticator, with tests that pass."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import click

from pylae.cli.report import USAGE, Failure

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@click.group(
    short_help="Write a starter gateway or plugin.",
    subcommand_metavar="KIND [ARGS]...",
    invoke_without_command=True,
)
@click.pass_context
def new(ctx: click.Context) -> None:
    """Write a starter gateway, plugin or authenticator, with tests that pass.

    Never changes an existing file. If one of the files exists, none is written.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(USAGE)


@new.command(short_help="A gateway in front of one service, and its tests.")
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--python", "in_python", is_flag=True, help="Write a program, gateway.py, instead of pylae.yaml.")
def gateway(folder: Path, in_python: bool) -> None:
    """Write a commented gateway and its tests to FOLDER (default: this one)."""
    name, starter, tests = (
        ("gateway.py", "starter.py", "test_gateway_python.txt")
        if in_python
        else ("pylae.yaml", "starter.yaml", "test_gateway_yaml.txt")
    )
    _write(folder, {name: _text(starter), "test_gateway.py": _text(f"starters/{tests}")})
    _next(folder, f"pylae check {name}", f"pylae run {name}", "python -m pytest")


@new.command(short_help="A plugin that pip can install, and its tests.")
@click.argument("name")
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False))
def plugin(name: str, folder: Path | None) -> None:
    """Write a plugin called NAME (such as business-hours) and its tests to FOLDER (default: NAME).

    Its distribution is called pylae-NAME. Once it is installed, use it with `plugins: [{use: NAME}]`.
    """
    _distribution("plugin", name, folder)


@new.command(short_help="An authenticator that pip can install, and its tests.")
@click.argument("name")
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False))
def authenticator(name: str, folder: Path | None) -> None:
    """Write an authenticator called NAME (such as acme-ldap) and tests of it to FOLDER (NAME unless said otherwise).

    Its distribution is pylae-NAME, and once that is installed configurations say
    `auth: {plugins: {mine: {use: NAME}}}`.
    """
    _distribution("authenticator", name, folder)


_KINDS = {
    "plugin": {
        "group": "pylae.plugins",
        "used": "plugins: [{{use: {name}}}]",
        "description": "Pylae plugin: adds a field to requests, and refuses those without another",
    },
    "authenticator": {
        "group": "pylae.authenticators",
        "used": "auth: {{plugins: {{mine: {{use: {name}}}}}}}",
        "description": "Pylae authenticator: knows users by keys in a field",
    },
}


def _distribution(kind: str, name: str, folder: Path | None) -> None:
    name = name.lower().replace("_", "-").removeprefix("pylae-")
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name) or keyword.iskeyword(module):
        hint = "use lower case letters, digits and hyphens, such as business-hours"
        raise Failure(f"{name!r} cannot be the name of {'an' if kind == 'authenticator' else 'a'} {kind}", hint, USAGE)
    folder = folder or Path(name)
    used = _KINDS[kind]["used"].format(name=name)
    words = {"name": name, "module": module, "Class": "".join(part.capitalize() for part in name.split("-"))}
    _write(
        folder,
        {
            "pyproject.toml": _text("starters/plugin_pyproject.txt").format(**{**_KINDS[kind], **words, "used": used}),
            f"{module}.py": _text(f"starters/{kind}_module.txt").format(**words),
            f"test_{module}.py": _text(f"starters/{kind}_test.txt").format(**words),
        },
    )
    _next(folder, "python -m pytest", "python -m pip install -e .", f"{used} in a configuration")


def _text(starter: str) -> str:
    return files("pylae.cli").joinpath(starter).read_text(encoding="utf-8")


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """Writes all of these files, or none if one of them exists."""
    there = [str(folder / name) for name in texts if (folder / name).exists()]
    if there:
        verb = "exist" if len(there) > 1 else "exists"
        raise Failure(f"{', '.join(there)} {verb}, and nothing was written", "choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        # Do not overwrite a file that has appeared meanwhile.
        with (folder / name).open("x", encoding="utf-8") as file:
            file.write(text)
        click.echo(f"Wrote {folder / name}")


def _next(folder: Path, *steps: str) -> None:
    where = "" if folder.resolve() == Path.cwd() else f"cd {folder}, then "
    click.echo(f"Next: {where}{', '.join(steps)}")
