"""Finds files that other users can change or read although they must not."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pylae.config.checks.standing import FILES, file_settings, source_files
from pylae.config.document.load import Document
from pylae.config.document.nodes import Finding, Step
from pylae.config.document.reader import referred
from pylae.config.document.sources import Sources
from pylae.config.document.written import secrets_in
from pylae.config.models.config import Config
from pylae.errors import Problem

_NAMED = {"key": "private key", "token_file": "token"}
_NAMING = {row: _NAMED[str(row[-1])] for row in FILES if row[-1] in _NAMED}
"""Settings that name a private file, and what the file contains."""


def changeable(files: Iterable[Path]) -> Iterator[Problem]:
    """Yields files that everyone can change, or whose folder lets everyone replace them."""
    folders: set[Path] = set()
    for file in files:
        real = file.resolve()
        if _mode(real) & stat.S_IWOTH:
            text = "every user can change this file, and so what the gateway does"
            yield Problem(str(file), None, None, "", text, f"chmod o-w {file}")
        folders |= {*file.absolute().parents, *real.parents}
    for folder in sorted(folders):
        mode = _mode(folder)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            text = "every user can replace the files that the gateway reads in this folder"
            yield Problem(str(folder), None, None, "", text, f"chmod o-w {folder}")


def readable(
    config: Config, sources: Sources, documents: Iterable[Document], folder: Path, owners: Collection[int]
) -> Iterator[Finding]:
    """Yields private keys and secret files that other users can read. `owners` are the groups of the gateway itself.

    `documents` are those that `sources` is about.
    """
    refers = any(document.root.mentions("${file:") for document in documents)
    for path, file, what in _secret_files(config, sources, refers=refers):
        try:
            found = (folder / Path(file).expanduser()).stat()
        except OSError:
            # Said elsewhere, if it is needed.
            continue
        who = _readers(found, owners)
        if who:
            yield Finding(path, f"{who} can read the {what} in {file}", f"chmod go-rwx {file}")


def _secret_files(config: Config, sources: Sources, *, refers: bool) -> Iterator[tuple[tuple[Step, ...], str, str]]:
    for row, what in _NAMING.items():
        for path, file in file_settings(config, row):
            yield path, file, what
    for path, file in source_files(config):
        if path[-1] in _NAMED:
            yield path, file, _NAMED[str(path[-1])]
    # Many routes take long.
    for secret in secrets_in(config) if refers else ():
        node = sources.locate(secret.path).node
        for name in referred((node.written if node else None) or ""):
            if name.startswith("file:"):
                yield secret.path, name.removeprefix("file:").strip(), "secret"


def _readers(found: os.stat_result, owners: Collection[int]) -> str | None:
    if found.st_mode & stat.S_IROTH:
        return "everybody"
    # The gateway itself may need the group to read the file.
    own = found.st_gid in owners and found.st_uid != os.geteuid()
    return "its group" if found.st_mode & stat.S_IRGRP and not own else None


def _mode(file: Path) -> int:
    try:
        return file.stat().st_mode
    except OSError:
        return 0
