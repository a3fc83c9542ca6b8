"""Reads a configuration that was handed in, for a gateway that has one already."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path

from pylae.config.check import parse_document
from pylae.config.load import Document, parse
from pylae.config.model import Config
from pylae.config.nodes import show_path
from pylae.config.sources import DocumentSources
from pylae.config.written import hidden, misplaced, reveal
from pylae.errors import ConfigError, Problem


def read(
    text: str, origin: Path, files: Mapping[Path, str | None], allowed: Container[str] | None, current: Config
) -> tuple[Document, Config]:
    """A document and its configuration. Marks of hidden secrets of `current` become the secrets again.

    `allowed` is what may stand in `${…}`: whoever hands in a configuration must not be able to read the environment and
    the files of the gateway with it. Nor may a secret be put where it could be read. Raises ConfigError.
    """
    document = parse(text, str(origin), files, allowed=allowed)
    used, unknown = reveal(document.root, hidden(current))
    if unknown:
        message = "this mark stands for no secret that is known"
        raise ConfigError(
            Problem(document.file, node.line, node.column, show_path(path), message) for node, path in unknown
        )
    config = parse_document(document)
    sources = DocumentSources(document)
    if places := [sources.locate(path) for path in misplaced(config, used)]:
        message = "a secret that is hidden elsewhere cannot be put here"
        raise ConfigError(Problem(one.file, one.line, one.column, show_path(one.path), message) for one in places)
    return document, config
