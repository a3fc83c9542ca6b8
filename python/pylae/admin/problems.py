"""Errors of the admin API: `application/problem+json` (RFC 9457), with every problem of a configuration."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from pylae.access.tokens import ScopeError, UnknownTokenError
from pylae.admin.body import Body
from pylae.config.document.nodes import show_path
from pylae.errors import (
    ConfigError,
    ConflictError,
    EngineError,
    NoEntryError,
    OwnedError,
    Problem,
    RegistryError,
    StoreError,
)

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

MEDIA_TYPE = "application/problem+json"
_NOTHING = "there is nothing at this path; `/` describes all paths, and `/openapi.json` does so for programs"
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class Flaw(Body):
    """One problem of what was sent."""

    path: str
    """Path of the setting, such as `routes[2].rate_limit`."""
    message: str
    """What is wrong."""
    hint: str | None = None
    """What to do about it."""
    line: int | None = None
    """Line in the document, from 1."""
    column: int | None = None
    """Column in the document, from 1."""
    file: str | None = None
    """File of `line` and `column`, if they are not in the document of the request: for example a program that added a
    route in code."""


class Refusal(Body):
    """An error response."""

    type: str = "about:blank"
    """Always `about:blank`: the status says it all."""
    title: str
    """The status in words."""
    status: int
    """Status of the response."""
    detail: str
    """What was wrong."""
    error: str
    """The same as `detail`."""
    code: Literal["control_plane_stuck"] | None = None
    """Why the API could not answer, if the data plane answered in its place."""
    problems: list[Flaw] = []
    """All problems of what was sent."""


def flaws(problems: Iterable[Problem], *, files: bool = False) -> list[Flaw]:
    """Returns problems in the form of the API. Without `files`, the file is omitted, because it is the request's
    document.
    """
    return [
        Flaw(
            path=problem.path,
            message=problem.message,
            hint=problem.hint,
            line=problem.line,
            column=problem.column,
            file=problem.file if files or problem.in_code else None,
        )
        for problem in problems
    ]


def body(status: int, detail: str, problems: Iterable[Flaw] = ()) -> bytes:
    """Returns the body of an error response."""
    found = [flaw.model_dump(exclude_none=True) for flaw in problems]
    document: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    document |= {"detail": detail, "error": detail, **({"problems": found} if found else {})}
    return json.dumps(document).encode()


def refusal(
    status: int, detail: str, problems: Iterable[Flaw] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """Returns an error response."""
    return Response(body(status, detail, problems), status, dict(headers or {}), MEDIA_TYPE)


def unusable(error: ConfigError, *, files: bool = False) -> Response:
    """Returns the response to a configuration with problems. For `files` see `flaws`."""
    count = len(error.problems)
    detail = f"the configuration has {count} problem{'s' * (count != 1)}; nothing was changed"
    return refusal(422, detail, flaws(error.problems, files=files))


def _allowed(app: FastAPI, request: Request) -> str:
    """Returns the methods that the path of a request supports."""

    def answers(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in app.routes)

    return ", ".join(method for method in _METHODS if answers(method))


def add_handlers(app: FastAPI, runtime: Runtime) -> None:
    """Makes `app` report all failures in this form. Unexpected ones are reported without their text."""

    @app.exception_handler(HTTPException)
    async def told(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            # Each route knows only its own methods.
            allowed = _allowed(app, request)
            return refusal(405, f"this path takes {allowed}", headers={"Allow": allowed})
        # What the framework says is less.
        detail = _NOTHING if error.detail == "Not Found" else error.detail
        return refusal(error.status_code, detail, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(_request: Request, error: RequestValidationError) -> Response:
        # Values and their context may be secrets, so they are left out.
        found = [Flaw(path=show_path(item["loc"]), message=item["msg"]) for item in error.errors()]
        return refusal(422, "the request does not have the expected form", found)

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        # The client has gone; nobody receives this.
        return refusal(400, "the request was not completed")

    @app.exception_handler(ConfigError)
    async def wrong(_request: Request, error: ConfigError) -> Response:
        return unusable(error)

    @app.exception_handler(ConflictError)
    async def conflict(_request: Request, error: ConflictError) -> Response:
        return refusal(409, str(error))

    @app.exception_handler(EngineError)
    async def refused(_request: Request, error: EngineError) -> Response:
        # One that has ended while a request was on its way can do nothing more.
        return refusal(422 if runtime.running else 503, str(error))

    @app.exception_handler(RegistryError)
    async def unregistered(_request: Request, error: RegistryError) -> Response:
        return refusal(409, str(error))

    @app.exception_handler(ScopeError)
    @app.exception_handler(OwnedError)
    async def forbidden(_request: Request, error: Exception) -> Response:
        return refusal(403, str(error))

    @app.exception_handler(NoEntryError)
    @app.exception_handler(UnknownTokenError)
    async def missing(_request: Request, error: Exception) -> Response:
        return refusal(404, str(error))

    @app.exception_handler(StoreError)
    async def unkept(_request: Request, error: StoreError) -> Response:
        return refusal(503, f"{error}; {error.hint}" if error.hint else str(error))

    @app.exception_handler(Exception)
    async def fault(_request: Request, _error: Exception) -> Response:
        return refusal(500, "internal error of the gateway; see its log")
