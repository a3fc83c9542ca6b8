"""Has the native side decide requests, and compares what it says with what is expected."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pylae import engine
from pylae.auth import sign_claims
from pylae.cli.explain import request_of
from pylae.config.builder import ConfigBuilder
from pylae.config.models.config import Config
from pylae.config.plan import json_of
from pylae.expected.table import Expected, ExpectedRequest, ExpectedTable


@dataclass(frozen=True, slots=True)
class Judged:
    """A request that was decided."""

    expected: ExpectedRequest
    request: dict[str, Any]
    """The request as the native side got it."""
    decided: Mapping[str, Any] | None
    """What was decided; None for what is no request."""
    differences: tuple[str, ...]
    """What is not as expected; nothing if it is."""

    @property
    def passed(self) -> bool:
        """Whether it is as expected."""
        return not self.differences


def judge(table: ExpectedTable, builder: ConfigBuilder, plan: dict[str, Any]) -> list[Judged]:
    """Decides all requests of a table. Opens no socket.

    Raises ConfigError if a token cannot be signed, and EngineError for a plan that cannot be built.
    """
    config = builder.config
    requests = [_asked(one, config) for one in table.requests]
    answers = engine.decide(json_of(plan), json.dumps(requests))
    return [
        _judged(expected, request, answer)
        for expected, request, answer in zip(table.requests, requests, answers, strict=True)
    ]


def _asked(expected: ExpectedRequest, config: Config) -> dict[str, Any]:
    method, url = expected.request.split()
    headers = list(expected.headers.items())
    names = {name.lower() for name, _ in headers}
    if expected.token is not None:
        headers.append(("Authorization", f"Bearer {sign_claims(expected.token, config)}"))
    if expected.body and "content-length" not in names:
        headers.append(("Content-Length", str(len(expected.body.encode()))))
    request = request_of(method, url, [f"{name}: {value}" for name, value in headers], expected.client)
    user = expected.user
    given = user and {
        "id": user.id,
        "email": user.email,
        "role": ",".join(user.role),
        "permissions": list(user.permissions),
        "claims": user.claims,
    }
    return {**request, "user": given, "body": expected.body, "times": expected.times}


def _judged(expected: ExpectedRequest, request: dict[str, Any], answer: Mapping[str, Any]) -> Judged:
    if "problems" in answer:
        why = "; ".join(problem["message"] for problem in answer["problems"])
        return Judged(expected, request, None, (f"it is no request: {why}",))
    decided = answer["decided"]
    return Judged(expected, request, decided, tuple(_differences(expected.expect, decided)))


def told(decided: Mapping[str, Any]) -> str:
    """What was decided, in a few words."""
    by = f" by {decided['by']}" if decided["by"] else ""
    if decided["undecided"]:
        return f"undecided: {decided['undecided']}"
    if decided["status"] is not None:
        return f"{decided['status']}{by}"
    return f"goes to {decided['service']}"


def _differences(expected: Expected, decided: Mapping[str, Any]) -> Iterator[str]:
    if decided["undecided"]:
        yield told(decided)
        return
    explanation = decided["explanation"]
    if expected.status is not None and expected.status != decided["status"]:
        yield f"expected {expected.status}, but it {_did(decided)}"
    if expected.service is not None and expected.service != decided["service"]:
        yield f"expected service {expected.service}, but it {_did(decided)}"
    for what in ("route", "by"):
        wanted, found = getattr(expected, what), decided[what]
        if wanted is not None and wanted != found:
            name = "policy" if what == "by" else what
            yield f"expected {name} {wanted}, found {found or 'none'}"
    if expected.path is not None and expected.path != explanation["upstream_path"]:
        yield f"expected path {expected.path}, found {explanation['upstream_path'] or 'none'}"
    yield from _fields("field", expected.fields, decided["fields"])
    yield from _fields("sent field", expected.sent, explanation["upstream_headers"])


def _did(decided: Mapping[str, Any]) -> str:
    return told(decided) if decided["status"] is None else f"is answered with {told(decided)}"


def _fields(what: str, expected: Mapping[str, str | None], found: list[list[str]]) -> Iterator[str]:
    for name, wanted in expected.items():
        values = [value for field, value in found if field.lower() == name.lower()]
        if wanted is None and values:
            yield f"expected no {what} {name}, found {', '.join(values)}"
        elif wanted is not None and wanted not in values:
            yield f"expected {what} {name}: {wanted}, found {', '.join(values) or 'none'}"
