"""The configuration: read, checked, compared, changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from pylae.admin.body import Body
from pylae.admin.guard import Application, Receive, Scope, Send
from pylae.admin.problems import Flaw, flaws, unusable
from pylae.config.document.load import reason
from pylae.config.document.nodes import show_path
from pylae.config.document.written import as_written, differences, joined, shown_reference, written
from pylae.config.models.config import Config
from pylae.errors import ConfigError
from pylae.runtime.memory import give_back

if TYPE_CHECKING:
    from pylae.config.builder import ConfigBuilder
    from pylae.runtime.runtime import Runtime

TAG = "configuration"

_DOCUMENT: dict[str, Any] = {
    "requestBody": {
        "description": "A configuration, as YAML or JSON. Marks of hidden secrets stand for the secrets.",
        "required": True,
        "content": {
            "application/yaml": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}


class Verdict(Body):
    """Whether a configuration could be applied."""

    valid: bool
    """Whether it could."""
    problems: list[Flaw]
    """Everything that is wrong with it."""
    warnings: list[Flaw]
    """What is doubtful, such as routes that can never match."""


class Change(Body):
    """One difference between the configuration in force and another."""

    path: str
    """Where. Routes are told by their names, where all have one."""
    before: Any
    """Value in force; null if there is none."""
    after: Any
    """Value in the other; null if there is none."""


class Difference(Body):
    """How a configuration differs from the one in force."""

    revision: str
    """The configuration in force."""
    changes: list[Change]
    """What differs."""


class Outcome(Body):
    """A configuration that is in force now."""

    revision: str
    """Its name."""
    warnings: list[Flaw]
    """What is doubtful about it."""


def shown(builder: ConfigBuilder, *, defaults: bool = False) -> Any:
    """A configuration as it could be written, secrets hidden; with `defaults`, and what code added."""
    sources = builder.sources

    def reference(path: tuple[str | int, ...], secret: bool) -> str | None:
        place = sources.locate(path)
        if place.node is None or secret:
            return shown_reference(place.node)
        # A text that was made of a mapping has in it what the references there stand for.
        made = joined(place.node) if place.path == path else None
        return made or place.node.written

    return written(builder.config if defaults else builder.written, reference, defaults=defaults)


def router(runtime: Runtime) -> APIRouter:
    """Its paths."""
    topic = APIRouter(prefix="/config")

    @topic.get("")
    def read(effective: bool = False) -> Response:
        """The configuration in force as it was written, with secrets hidden. The ETag is the revision.

        What is read can be edited and put back. `effective` adds every default and what a program added in code, which
        is laid over each configuration; to be read only.
        """
        # A configuration, its secrets and its revision belong together: none of another one.
        with runtime.changing:
            fields = {"ETag": f'"{runtime.revision}"'}
            document = runtime.builder.document
            if effective or document is None:
                return JSONResponse(shown(runtime.builder, defaults=effective), headers=fields)
            return JSONResponse(as_written(document.root, runtime.builder.written), headers=fields)

    @topic.put("", openapi_extra=_DOCUMENT)
    async def apply(
        request: Request, response: Response, if_match: Annotated[str | None, Header(max_length=200)] = None
    ) -> Outcome:
        """Puts a configuration in force, whole or not at all, without dropping a request.

        `If-Match` names the revision that the change was made for, `*` any; if another one is in force by now, nothing
        is changed (409). It outlives a restart, and holds until the file of the configuration changes. What a program
        added in code stays beside it.
        """
        if if_match is None:
            raise HTTPException(428, "If-Match is needed: the ETag of the configuration that was edited, or *")
        revision = None if if_match.strip() == "*" else if_match.strip().removeprefix("W/").strip('"')
        text = await _text(request)
        with _keeping():
            applied, warnings = await run_in_threadpool(runtime.apply_document, text, revision)
        response.headers["ETag"] = f'"{applied}"'
        return Outcome(revision=applied, warnings=flaws(warnings))

    @topic.post("/validate", openapi_extra=_DOCUMENT)
    async def validate(request: Request) -> Verdict:
        """Everything that is wrong with a configuration. Changes nothing."""
        text = await _text(request)
        try:
            warnings = await run_in_threadpool(lambda: runtime.drafted(text).check())
        except ConfigError as error:
            return Verdict(valid=False, problems=flaws(error.problems), warnings=[])
        return Verdict(valid=True, problems=[], warnings=flaws(warnings))

    @topic.post("/diff", openapi_extra=_DOCUMENT)
    async def diff(request: Request) -> Difference:
        """How a configuration differs from the one in force, what is said in neither included. Changes nothing."""
        text = await _text(request)

        def compared() -> Difference:
            with runtime.changing:
                revision, before = runtime.revision, shown(runtime.builder, defaults=True)
                after = shown(runtime.drafted(text), defaults=True)
            changes = [
                Change(path=show_path(path), before=old, after=new) for path, old, new in differences(before, after)
            ]
            return Difference(revision=revision, changes=changes)

        return await run_in_threadpool(compared)

    @topic.post("/reload", response_model=Outcome)
    def reload() -> Outcome | Response:
        """Reads the file of the configuration again, which ends what was applied over this API."""
        try:
            return Outcome(revision=runtime.return_to_file(), warnings=[])
        except ConfigError as error:
            return unusable(error, files=True)

    @topic.get("/schema")
    def schema() -> Response:
        """The JSON schema of configurations."""
        return JSONResponse(Config.model_json_schema())

    return topic


@contextmanager
def _keeping() -> Iterator[None]:
    """Says what keeps a configuration from being kept; what was in force is in force then."""
    try:
        yield
    except OSError as error:
        detail = f"the configuration cannot be written into the state folder, nothing was changed: {reason(error)}"
        raise HTTPException(500, detail) from None


async def _text(request: Request) -> str:
    # Not `request.body()`, which the request keeps, and the pieces beside it: it may be large.
    data = bytearray()
    async for piece in request.stream():
        data += piece
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise HTTPException(400, "a configuration is UTF-8") from None


class Lean:
    """Wraps the application: what it took to look at a configuration is given back once that was answered."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        try:
            await self._app(scope, receive, send)
        finally:
            if scope["type"] == "http" and scope["method"] != "GET" and scope["path"].startswith("/config"):
                await run_in_threadpool(give_back)
