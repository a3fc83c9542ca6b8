"""Files that others can change or read, and with them what the gateway does or keeps to itself."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pylae.config.checks.standing import FILES, file_settings, source_files
from pylae.config.document.load import referred
from pylae.config.document.nodes import Finding, Step
from pylae.config.document.sources import Sources
from pylae.config.document.written import leaves
from pylae.config.models.config import Config
from pylae.errors import Problem

_NAMED = {"key": "private key", "token_file": "token"}
_NAMING = {row: _NAMED[str(row[-1])] for row in FILES if row[-1] in _NAMED}
"""Settings that name a file which nobody else is to read, and what is in it."""


def changeable(files: Iterable[Path]) -> Iterator[Problem]:
    """Files that everybody can change, or put others in the place of."""
    folders: set[Path] = set()
    for file in files:
        real = file.resolve()
        if _mode(real) & stat.S_IWOTH:
            text = "everybody can change this file, and with it what the gateway does"
            yield Problem(str(file), None, None, "", text, f"chmod o-w {file}")
        folders |= {*file.absolute().parents, *real.parents}
    for folder in sorted(folders):
        mode = _mode(folder)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            text = "everybody can put other files in the place of those that the gateway reads here"
            yield Problem(str(folder), None, None, "", text, f"chmod o-w {folder}")


def readable(config: Config, sources: Sources, folder: Path, owners: Collection[int]) -> Iterator[Finding]:
    """Private keys and files of secrets that others can read. `owners` are the groups of the gateway itself."""
    for path, file, what in _secret_files(config, sources):
        try:
            found = (folder / Path(file).expanduser()).stat()
        except OSError:
            # Said elsewhere, if it is needed.
            continue
        who = _readers(found, owners)
        if who:
            yield Finding(path, f"{who} can read the {what} in {file}", f"chmod go-rwx {file}")


def _secret_files(config: Config, sources: Sources) -> Iterator[tuple[tuple[Step, ...], str, str]]:
    for row, what in _NAMING.items():
        for path, file in file_settings(config, row):
            yield path, file, what
    for path, file in source_files(config):
        if path[-1] in _NAMED:
            yield path, file, _NAMED[str(path[-1])]
    for leaf in leaves(config):
        node = sources.locate(leaf.path).node if leaf.secret else None
        for name in referred((node.written if node else None) or ""):
            if name.startswith("file:"):
                yield leaf.path, name.removeprefix("file:").strip(), "secret"


def _readers(found: os.stat_result, owners: Collection[int]) -> str | None:
    if found.st_mode & stat.S_IROTH:
        return "everybody"
    # A group may be how the gateway itself reads it.
    own = found.st_gid in owners and found.st_uid != os.geteuid()
    return "its group" if found.st_mode & stat.S_IRGRP and not own else None


def _mode(file: Path) -> int:
    try:
        return file.stat().st_mode
    except OSError:
        return 0
