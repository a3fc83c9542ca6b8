"""The endpoints of the admin API. Each declares the scope that it needs, and refuses callers without it.

    topic = topic_router("/breakers")

    @topic.post("/{service}/reset")
    @needs(OPERATE)
    def reset(service: str) -> Reset: ...

An endpoint that declares none cannot be made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_origin

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from pylae.access.scopes import CONFIGURE, OPERATE, READ, REGISTER, registering
from pylae.admin.audited import Call
from pylae.admin.caller import Caller, caller_in
from pylae.admin.form import malformed

F = TypeVar("F", bound=Callable[..., Any])

OPEN = "open"
"""Declared by endpoints that need no token: probes."""
SCHEME = "token"
"""Name of the security scheme in the OpenAPI document."""
_DECLARED = "_pylae_needs"
_SAFE = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Needs:
    """What an endpoint declares.

    Attributes:
        scope: The scope; `register` is that of the service in the path.
        changes: Whether it can change something, if its method is not GET.
        audited: Fields of the body that the audit has. They must not be secrets.
    """

    scope: str
    changes: bool
    audited: Sequence[str]


def needs(scope: str, *, changes: bool = True, audited: Sequence[str] = ()) -> Callable[[F], F]:
    """Declares the scope that an endpoint needs: READ, OPERATE, CONFIGURE, REGISTER or OPEN.

    It goes below the decorator with the path. Calls are lines of the audit, except for GET, and with `changes=False`
    for a POST that changes nothing. The audit has their path, query and the fields of the body in `audited`.
    """
    if scope not in (READ, OPERATE, CONFIGURE, REGISTER, OPEN):
        raise ValueError(f"{scope!r} is not a scope of endpoints")

    def declared(endpoint: F) -> F:
        setattr(endpoint, _DECLARED, Needs(scope, changes, audited))
        return endpoint

    return declared


class Endpoint(APIRoute):
    """An endpoint that declares its scope. The scope is part of the OpenAPI document."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        declared = getattr(endpoint, _DECLARED, None)
        if not isinstance(declared, Needs):
            raise TypeError(f"{path} declares no scope: put @needs(…) directly above its function")
        if declared.scope == REGISTER and "{service}" not in path:
            raise TypeError(f"{path} registers instances of no service")
        self.needs = declared
        shown = registering("SERVICE") if declared.scope == REGISTER else declared.scope
        security = [] if declared.scope == OPEN else [{SCHEME: [shown]}]
        options["openapi_extra"] = {**(options.get("openapi_extra") or {}), "security": security}
        said = inspect.cleandoc(options.get("description") or endpoint.__doc__ or "")
        # FastAPI makes copies of routes, which have it already.
        sentence = f"Needs the scope `{shown}`."
        if security and not said.endswith(sentence):
            said = f"{said}\n\n{sentence}"
        super().__init__(path, endpoint, **(options | {"description": said}))

    @property
    def changes(self) -> bool:
        """Whether a request can change something."""
        return self.needs.changes and not _SAFE.issuperset(self.methods or ())

    def scope_of(self, request: Scope) -> str:
        """Returns the scope that a request needs."""
        return registering(request["path_params"]["service"]) if self.needs.scope == REGISTER else self.needs.scope

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request whose path is that of this endpoint."""
        if scope["method"] not in (self.methods or ()) or self.needs.scope == OPEN:
            await super().handle(scope, receive, send)
            return
        caller = caller_in(scope)
        refusal = self._refusal(scope, caller)
        if not self.changes:
            if refusal is not None:
                raise refusal
            await super().handle(scope, receive, send)
            return
        call = Call(scope["app"].state.access, scope, caller, self.path_format, self.needs.audited)
        try:
            if refusal is not None:
                raise refusal
            await super().handle(scope, call.receiving(receive), call.sending(send))
        except HTTPException as error:
            await call.write(error.status_code, error.detail)
            raise
        except BaseException as error:
            await call.write(500, f"it ended with {type(error).__name__}")
            raise

    def _refusal(self, scope: Scope, caller: Caller) -> HTTPException | None:
        needed = self.scope_of(scope)
        if caller.bearer.scopes.allow(needed):
            parameters = self.dependant.query_params
            lists = {field.alias: get_origin(field.field_info.annotation) is list for field in parameters}
            return malformed(scope, lists, json=self.body_field is not None)
        return HTTPException(403, f"this needs the scope `{needed}`, which the token {caller.name} has not")


def topic_router(prefix: str = "") -> APIRouter:
    """Returns a router whose endpoints have to declare their scopes."""
    return APIRouter(prefix=prefix, route_class=Endpoint)
