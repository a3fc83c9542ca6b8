"""Validates a configuration and reports all problems, each with its place and a hint."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice

from pydantic import ValidationError

from pylae.config.checks.crosscheck import View, authentication, cross_check
from pylae.config.checks.explain import in_order, problems_of
from pylae.config.checks.pieces import LARGE, Known, Pieces
from pylae.config.document.load import Document
from pylae.config.document.nodes import Finding, Step, show_path
from pylae.config.document.reader import MAX_PROBLEMS
from pylae.config.document.sources import DocumentSources, Sources
from pylae.config.models.config import Config
from pylae.errors import ConfigError, Problem


def parse_document(document: Document, known: Known | None = None) -> Config:
    """Returns the configuration in a document. Of what is as in an earlier one, it has the models of that: `known`.

    Raises ConfigError with every problem, at most `MAX_PROBLEMS`.
    """
    sources = DocumentSources(document)
    problems: list[Problem] = []

    def errors(error: ValidationError, path: tuple[Step, ...], more: bool) -> bool:
        problems.extend(problems_of(error, sources, Config, at=path))
        if more:
            place = sources.locate(path)
            text = f"is of more than {LARGE:,} values: only the first problem of each list in it is reported"
            problems.append(place.problem(text, path=show_path(place.path) or "the configuration"))
        return len(problems) > MAX_PROBLEMS

    pieces = Pieces(document.root.plain(), errors, known or Known())
    pieces.validate()
    if (view := _view(pieces)) is not None:
        findings = chain(cross_check(view, sources), authentication(view))
        left = max(0, MAX_PROBLEMS + 1 - len(problems))
        problems += [_finding(finding, sources) for finding in islice(findings, left)]
    if problems or view is None:
        raise ConfigError(_told(problems), document.files)
    return view.config


def _told(problems: Iterable[Problem]) -> list[Problem]:
    """Limits the problems to as many as a reader can use."""
    found = in_order(problems)
    if len(found) <= MAX_PROBLEMS:
        return found
    more = Problem(found[0].file, None, None, "", f"there are more than these {MAX_PROBLEMS} problems")
    return [*found[:MAX_PROBLEMS], more]


def check_config(config: Config, sources: Sources, more: Iterable[Finding] = ()) -> None:
    """Checks a configuration that was built in Python.

    Raises ConfigError with all problems, including those in `more`. It does not check whether users can be
    authenticated; `Gateway.start` does.
    """
    findings = (*more, *cross_check(View.whole_of(config), sources))
    problems = [_finding(finding, sources) for finding in findings]
    if problems:
        raise ConfigError(in_order(problems))


def _finding(finding: Finding, sources: Sources) -> Problem:
    place = sources.locate(finding.path)
    return place.problem(finding.message, finding.hint)


def _view(pieces: Pieces) -> View | None:
    """Returns the valid part of a configuration, which is cross-checked in the same run."""
    config = pieces.config
    if config is None:
        return None
    routes, services = pieces.raw.get("routes", ()), pieces.raw.get("services", {})
    known = None if "services" in pieces.bad else frozenset(services)
    declared = {
        str(route.get("service", route.get("service_name")))
        for route in (routes if "routes" not in pieces.bad and not pieces.whole else ())
        if isinstance(route, dict) and "service_url" in route
    }
    return View(config, tuple(pieces.routes), known, frozenset(declared), "auth" not in pieces.bad)
