"""Reads a configuration that was handed in, for a gateway that has one already."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pylae.config.check import parse_document
from pylae.config.load import Document, parse
from pylae.config.model import Config
from pylae.config.nodes import Step, show_path
from pylae.config.sources import DocumentSources
from pylae.config.written import hidden, misplaced, reveal
from pylae.errors import ConfigError, Problem


def read(
    text: str, origin: Path, files: Mapping[Path, str | None], allowed: Container[str] | None, current: Config
) -> tuple[Document, Config]:
    """A document and its configuration. Marks of hidden secrets of `current` become the secrets again.

    `allowed` is what may stand in `${…}`: whoever hands in a configuration must not be able to read the environment and
    the files of the gateway with it. Nor may a secret be put where it could be read, or code be named that `current`
    does not name. Raises ConfigError.
    """
    document = parse(text, str(origin), files, allowed=allowed)
    revealed, unknown = reveal(document.root, hidden(current))
    if unknown:
        message = "this mark stands for no secret that is known"
        raise ConfigError(
            Problem(document.file, node.line, node.column, show_path(path), message) for node, path in unknown
        )
    config = _parsed(document, [str(node.value) for node, _ in revealed.values()])
    sources = DocumentSources(document)
    if strayed := list(misplaced(config, document.root, current, revealed)):
        message = "a secret that is hidden elsewhere cannot be put here"
        hint = "a mark counts where it was read; elsewhere, write the secret itself"
        raise ConfigError(
            Problem(document.file, node.line, node.column, show_path(path), message, hint) for node, path in strayed
        )
    if allowed is not None and (places := [sources.locate(path) for path in _new_code(config, current)]):
        message = "code that the configuration does not name yet cannot be named here"
        hint = "write it into the file of the configuration"
        raise ConfigError(Problem(one.file, one.line, one.column, show_path(one.path), message, hint) for one in places)
    return document, config


def _parsed(document: Document, secrets: Sequence[str]) -> Config:
    """The configuration in a document. Raises ConfigError, in whose problems none of `secrets` stands."""
    try:
        return parse_document(document)
    except ConfigError as error:
        problems: Sequence[Problem] = error.problems
        for secret in secrets:
            problems = [
                replace(
                    problem,
                    message=problem.message.replace(secret, "(not shown)"),
                    hint=problem.hint and problem.hint.replace(secret, "(not shown)"),
                )
                for problem in problems
            ]
        raise ConfigError(problems, error.files) from None


def _new_code(config: Config, current: Config) -> Iterator[tuple[Step, ...]]:
    """Hooks and plugins that `current` has not: whoever could name any would run any code."""
    known = {hook.path for hook in current.hooks} | {plugin.use for plugin in current.plugins}
    for index, hook in enumerate(config.hooks):
        if hook.path not in known:
            yield ("hooks", index)
    for index, plugin in enumerate(config.plugins):
        if plugin.use not in known:
            yield ("plugins", index, "use")
