"""Reads a configuration that was handed in to a gateway, such as over the admin API."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pylae.config.checks.audience import At
from pylae.config.checks.check import parse_document
from pylae.config.checks.explain import in_order
from pylae.config.checks.standing import Refusal, Standing, named, takings
from pylae.config.document.load import Document, parse
from pylae.config.document.nodes import show_path
from pylae.config.document.sources import DocumentSources
from pylae.config.document.written import HIDDEN, as_written, hidden, reveal, secrets_in
from pylae.config.models.config import Config
from pylae.errors import ConfigError, Problem


def read(
    text: str,
    origin: Path,
    files: Mapping[Path, str | None],
    standing: Standing | None,
    current: Config,
    *,
    filled: Collection[At] | None = None,
) -> tuple[Document, Config]:
    """A document and its configuration. Marks of hidden secrets of `current` become the secrets again.

    `standing` is what the document may take from the node (`pylae.config.checks.standing`); None is for one that was
    accepted before. With `filled`, it was accepted before, except for the secrets that were filled in at these places:
    what it takes from the node may be sent where it was sent then, but those only where they are sent now. Raises
    ConfigError.
    """
    refusal = standing.refusal if standing is not None and filled is None else lambda _: None
    document = parse(text, str(origin), files, refusal=refusal)
    found = list(takings(as_written(document.root))) if standing is not None else []
    if filled is not None:
        found = [taking for taking in found if taking.path in filled]
    revealed, unknown = reveal(document.root, hidden(current))
    if unknown:
        message = "this mark matches no known secret"
        _refuse(document, [Refusal(path, message, "write the secret itself") for path in unknown])
    if standing is None:
        return document, _parsed(document, [])
    _refuse(document, standing.strayed(found))
    config = _parsed(document, [str(secret) for secret in revealed])
    _refuse(document, _not_kept(config))
    of_settings = list(named(config)) if filled is None else []
    _refuse(document, [*standing.changed(config), *standing.strayed(of_settings)])
    _refuse(document, standing.void([*found, *of_settings], config))
    return document, config


def _not_kept(config: Config) -> Iterator[Refusal]:
    """Yields where a document of the history has a secret, which the history does not keep."""
    for secret in secrets_in(config):
        if secret.value == HIDDEN:
            hint = "write the secret itself, or go back with `pylae rollback`, which uses the present one"
            yield Refusal(secret.path, "is what the history shows in the place of a secret", hint)


def _refuse(document: Document, refusals: Iterable[Refusal]) -> None:
    """Raises ConfigError if there are any."""
    sources = DocumentSources(document)
    problems = []
    for refusal in refusals:
        place = sources.locate(refusal.path)
        problem = Problem(place.file, place.line, place.column, show_path(place.path), refusal.message, refusal.hint)
        problems.append(problem)
    if problems:
        raise ConfigError(in_order(problems))


def _parsed(document: Document, secrets: Sequence[str]) -> Config:
    """The configuration in a document. Raises ConfigError, which does not show any of `secrets`."""
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
