"""The configuration: read, check, compare, apply."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from pylae.access.scopes import CONFIGURE, READ
from pylae.admin.body import Body
from pylae.admin.caller import caller_of
from pylae.admin.document import refusals
from pylae.admin.endpoint import needs, topic_router
from pylae.admin.guard import Application, Receive, Scope, Send
from pylae.admin.problems import Flaw, flaws, unusable
from pylae.config.document.files import reason
from pylae.config.document.nodes import show_path
from pylae.config.document.written import as_written, differences, joined, shown_reference, written
from pylae.config.models.config import Config
from pylae.errors import ConfigError
from pylae.fleet.fleet import Fleet, Wanted
from pylae.history.entry import MOST_REASON, Cause
from pylae.runtime.memory import give_back

if TYPE_CHECKING:
    from pylae.config.builder import ConfigBuilder
    from pylae.runtime.runtime import Runtime

TAG = "configuration"

IfMatch = Annotated[str | None, Header(max_length=200, include_in_schema=False)]
Reason = Annotated[str | None, Query(max_length=MOST_REASON, description="Why, for the history.")]
"""What people say about a change."""
Now = Annotated[bool, Query(description="With a shared store: for all nodes at once, unobserved.")]

_SCHEMA = {"type": "object", "description": "A configuration; `/config/schema` has its schema."}
_EXAMPLE = {
    "services": {"users": {"instances": ["http://10.0.0.7:8000"]}},
    "routes": [{"name": "users", "prefix": "/users", "service": "users"}],
}
_DOCUMENT: dict[str, Any] = {
    "requestBody": {
        "description": "A configuration, as YAML or JSON. It may contain the marks of hidden secrets.",
        "required": True,
        "content": {
            media: {"schema": _SCHEMA, "example": _EXAMPLE} for media in ("application/json", "application/yaml")
        },
    }
}
IF_MATCH: dict[str, Any] = {
    "parameters": [
        {
            "name": "If-Match",
            "in": "header",
            "required": True,
            "description": "Revision that you edited: the `ETag` of `GET /config`, or `*` for any.",
            "schema": {"type": "string", "maxLength": 200},
            "example": '"3f21a0bc-4"',
        }
    ]
}
ETAG = {"ETag": {"description": "Revision of the configuration.", "schema": {"type": "string"}}}
_UNREADABLE = {
    400: "The document is not UTF-8, or the request is malformed.",
    422: "The document cannot be used. `problems` has all of its problems.",
}


class Verdict(Body):
    """The result of a check."""

    valid: bool
    """Whether the configuration could be applied."""
    problems: list[Flaw]
    """All problems of the configuration."""
    warnings: list[Flaw]
    """Settings that are probably wrong, such as routes that never match."""


class Change(Body):
    """A difference between the current configuration and another one."""

    path: str
    """Path of the setting. Routes are identified by name if all of them have one."""
    before: Any
    """Value in the current configuration; null if absent."""
    after: Any
    """Value in the other configuration; null if absent."""


class Difference(Body):
    """The differences between the current configuration and another one."""

    revision: str
    """Revision of the current configuration."""
    changes: list[Change]
    """The differences."""


class Outcome(Body):
    """A configuration that has been applied."""

    revision: str
    """The revision that is in force now."""
    warnings: list[Flaw]
    """Settings that are probably wrong."""
    rollout: int | None = None
    """Number of the configuration whose roll-out has begun, if gateways share a store. See `GET /rollout`."""


BEGUN: dict[int | str, dict[str, Any]] = {
    202: {"model": Outcome, "description": "Gateways share a store: the configuration is being rolled out to them."}
}


def shown(builder: ConfigBuilder, *, defaults: bool = False, added: bool = False) -> Any:
    """Returns the configuration of a gateway as it could be written, with its secrets hidden.

    With `added` it also has what a program added in code, with `defaults` that and all defaults.
    """
    sources = builder.sources

    def reference(path: tuple[str | int, ...], secret: bool) -> str | None:
        place = sources.locate(path)
        if place.node is None or secret:
            return shown_reference(place.node)
        # A text that was made from a mapping contains the values of the references in it.
        made = joined(place.node) if place.path == path else None
        return made or place.node.written

    return written(builder.config if defaults or added else builder.written, reference, defaults=defaults)


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/config")

    @topic.get(
        "",
        responses={
            200: {
                "description": "The configuration.",
                "headers": ETAG,
                "content": {"application/json": {"schema": _SCHEMA, "example": _EXAMPLE}},
            }
        },
    )
    @needs(READ)
    def get_config(
        effective: Annotated[
            bool, Query(description="Include all defaults, and what a program added in code.")
        ] = False,
    ) -> Response:
        """Returns the current configuration as it was written, with secrets hidden. The ETag is the revision.

        You can edit the document and put it back. With `effective`, it also has all defaults and what a program added
        in code; that form is read-only.
        """
        # The configuration, its secrets and its revision must be from the same apply.
        with runtime.changing:
            fields = {"ETag": f'"{runtime.revision}"'}
            document = runtime.builder.document
            if effective or document is None:
                return JSONResponse(shown(runtime.builder, defaults=effective), headers=fields)
            return JSONResponse(as_written(document.root, runtime.builder.written), headers=fields)

    @topic.put(
        "",
        openapi_extra=_DOCUMENT | IF_MATCH,
        responses={
            200: {"headers": ETAG},
            **BEGUN,
            **refusals(
                _UNREADABLE
                | {
                    409: "Another revision is in force by now, or a configuration is being rolled out.",
                    422: "The document cannot be used, or not applied. `problems` has all of its problems.",
                    428: "`If-Match` is missing.",
                    500: "The configuration cannot be written into the state folder; or another error of the gateway.",
                    503: "The store that gateways share does not answer.",
                }
            ),
        },
    )
    @needs(CONFIGURE)
    async def apply_config(
        request: Request,
        response: Response,
        if_match: IfMatch = None,
        reason: Reason = None,
        now: Now = False,
    ) -> Outcome:
        """Applies a configuration completely or not at all, without dropping a request.

        `If-Match` names the revision that you edited, or `*` for any. If another revision is in force by now, nothing
        changes (409). The configuration outlives a restart, and stays in force until the configuration file changes.
        What a program added in code stays in force too. The history keeps the `reason`.

        If gateways share a store, this begins to roll the configuration out to all of them, and the answer is 202. Then
        `If-Match` names the configuration that all nodes should have.
        """
        revision = revision_of(if_match)
        text = await _text(request)
        caller = caller_of(request)
        if isinstance(fleet := runtime.fleet, Fleet):
            wanted = Wanted(text, Cause("apply", caller.name, reason), caller.address, revision, now)
            return await run_in_threadpool(rolled_out, fleet, wanted, response)
        cause, unlimited = Cause("admin", caller.name, reason), caller.bearer.scopes.unlimited
        with keeping():
            applied, warnings = await run_in_threadpool(
                runtime.apply_document, text, revision, cause, unlimited=unlimited
            )
        response.headers["ETag"] = f'"{applied}"'
        return Outcome(revision=applied, warnings=flaws(warnings))

    @topic.post("/validate", openapi_extra=_DOCUMENT, responses=refusals({400: _UNREADABLE[400]}))
    @needs(CONFIGURE, changes=False)
    async def validate_config(request: Request) -> Verdict:
        """Checks a configuration and returns all problems. Changes nothing."""
        text = await _text(request)
        try:
            warnings = await run_in_threadpool(lambda: runtime.drafted(text).check())
        except ConfigError as error:
            return Verdict(valid=False, problems=flaws(error.problems), warnings=[])
        return Verdict(valid=True, problems=[], warnings=flaws(warnings))

    @topic.post("/diff", openapi_extra=_DOCUMENT, responses=refusals(_UNREADABLE))
    @needs(CONFIGURE, changes=False)
    async def diff_config(request: Request) -> Difference:
        """Compares a configuration, including its defaults, with the current one. Changes nothing."""
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

    @topic.post(
        "/reload",
        response_model=Outcome,
        responses=refusals({422: "The file cannot be used. `problems` has all of its problems."}),
    )
    @needs(CONFIGURE)
    def reload_config(request: Request, reason: Reason = None) -> Outcome | Response:
        """Reads the configuration file again. This replaces a configuration that was applied over this API."""
        try:
            cause = Cause("reload", caller_of(request).name, reason)
            return Outcome(revision=runtime.return_to_file(cause), warnings=[])
        except ConfigError as error:
            return unusable(error, files=True)

    @topic.get(
        "/schema",
        responses={
            200: {"description": "The schema.", "content": {"application/schema+json": {"schema": {"type": "object"}}}}
        },
    )
    @needs(READ)
    def get_config_schema() -> Response:
        """Returns the JSON schema of configurations."""
        return JSONResponse(Config.model_json_schema(), media_type="application/schema+json")

    return topic


def rolled_out(fleet: Fleet, wanted: Wanted, response: Response) -> Outcome:
    """Begins to roll out a document to all nodes of a fleet. Raises ConfigError, ConflictError or StoreError."""
    rollout, warnings = fleet.begin(wanted)
    response.status_code = 202
    return Outcome(revision=fleet.revision, warnings=flaws(warnings), rollout=rollout.number)


def revision_of(if_match: str | None) -> str | None:
    """Returns the revision that `If-Match` names; None for any."""
    if if_match is None:
        raise HTTPException(428, "If-Match is required: the ETag of the configuration that you edited, or *")
    return None if if_match.strip() == "*" else if_match.strip().removeprefix("W/").strip('"')


@contextmanager
def keeping() -> Iterator[None]:
    """Turns an error while a configuration is stored into a refusal. The previous configuration is then in force."""
    try:
        yield
    except OSError as error:
        detail = f"cannot write the configuration into the state folder: {reason(error)}; nothing was changed"
        raise HTTPException(500, detail) from None


async def _text(request: Request) -> str:
    # `request.body()` would keep the body and its pieces in memory with the request, and it may be large.
    data = bytearray()
    async for piece in request.stream():
        data += piece
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise HTTPException(400, "a configuration must be UTF-8") from None


class Lean:
    """Wraps the application, and returns memory to the system after requests that parsed a configuration."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        try:
            await self._app(scope, receive, send)
        finally:
            if (
                scope["type"] == "http"
                and scope["method"] != "GET"
                and scope["path"].startswith(("/config", "/history"))
            ):
                await run_in_threadpool(give_back)
