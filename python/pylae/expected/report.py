"""What `pylae test` tells: for people, as JSON, and as JUnit XML for CI."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

import click

from pylae.expected.judge import Judged, told

Explain = Callable[[Judged], list[str]]
"""Returns the lines of `pylae explain` for a request."""


def lines(judged: Sequence[Judged], explain: Explain, seconds: float, *, everything: bool) -> Iterator[str]:
    """Yields the report for people."""
    for one in judged:
        if one.passed:
            if everything and one.decided is not None:
                yield f"{click.style('ok', fg='green')}    {one.expected.title}: {told(one.decided)}"
            continue
        yield f"{click.style('failed', fg='red')} {click.style(one.expected.title, bold=True)}"
        yield from (f"  {difference}" for difference in one.differences)
        yield from (f"  {line}".rstrip() for line in explain(one))
        yield ""
    failed = sum(1 for one in judged if not one.passed)
    passed = len(judged) - failed
    words = f"{passed} as expected" + (f", {failed} not" if failed else "")
    yield f"{words} ({seconds:.2f} s)"


def document(judged: Sequence[Judged], explain: Explain) -> list[dict[str, Any]]:
    """Returns the report for programs."""
    return [
        {
            "name": one.expected.title,
            "passed": one.passed,
            "differences": list(one.differences),
            "decided": one.decided
            and {key: one.decided[key] for key in ("status", "by", "route", "service", "fields", "undecided")},
            "explanation": [] if one.passed else explain(one),
        }
        for one in judged
    ]


def junit(name: str, judged: Sequence[Judged], explain: Explain, seconds: float) -> str:
    """Returns the report as JUnit XML."""
    failed = sum(1 for one in judged if not one.passed)
    counts = {"tests": str(len(judged)), "failures": str(failed), "errors": "0", "time": f"{seconds:.3f}"}
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": name, "skipped": "0", **counts})
    for one in judged:
        case = ElementTree.SubElement(suite, "testcase", {"classname": name, "name": _legal(one.expected.title)})
        if not one.passed:
            failure = ElementTree.SubElement(case, "failure", {"message": _legal("; ".join(one.differences))})
            failure.text = _legal("\n".join(explain(one)))
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _legal(text: str) -> str:
    """Replaces what XML 1.0 cannot hold."""
    return "".join(letter if letter in "\t\n" or letter >= " " else "\ufffd" for letter in text)
