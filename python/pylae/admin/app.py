"""The application of the admin API, with one module per topic. The guard has let the request in before."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.types import Receive, Scope, Send

from pylae.access.scopes import READ
from pylae.admin import (
    audit,
    breakers,
    cache,
    configuration,
    costs,
    exchanges,
    fleet,
    history,
    limits,
    log,
    maintenance,
    monitoring,
    nodes,
    page,
    revocations,
    rights,
    routes,
    services,
    settings,
    status,
    timeline,
    tokens,
    traces,
)
from pylae.admin.document import Described, operation_id
from pylae.admin.endpoint import Endpoint, needs
from pylae.admin.problems import add_handlers

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

# Handlers that ask the engine or the configuration may take a while: statistics are summed up, and an apply may be
# waiting for a hook. They are plain functions, so that they run on threads and do not block the event loop.
_TOPICS = (
    *(status, monitoring, costs, configuration, settings, history, fleet, services, breakers, limits, cache, nodes),
    *(revocations, routes, timeline, exchanges, traces, log, maintenance, tokens, rights, audit),
)
# All gateways of a process share the models of the endpoints. FastAPI and Pydantic build their validators when they are
# first needed, and on several threads at once one can find what another has half built.
_BUILDING = threading.Lock()


class Application(Described):
    """Builds all of its routes before it answers the first request."""

    _built = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._built:
            with _BUILDING:
                for route in self.routes:
                    # FastAPI builds the endpoints of a router when it looks for one of them for the first time.
                    route.matches({"type": "http", "method": "GET", "path": "/", "headers": []})
            self._built = True
        await super().__call__(scope, receive, send)


def application(runtime: Runtime) -> FastAPI:
    """Returns the admin API of a gateway."""
    with _BUILDING:
        return _application(runtime)


def _application(runtime: Runtime) -> FastAPI:
    app = Application(
        title="Pylae admin API",
        version="1",
        description="Shows and controls a running gateway. All requests except `/live` and `/ready` need the token: "
        "`Authorization: Bearer TOKEN`, and the token needs the scope of the endpoint.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=operation_id,
        redirect_slashes=False,
    )
    app.router.route_class = Endpoint
    app.state.access = runtime.access
    add_handlers(app, runtime)
    app.add_middleware(configuration.Lean)
    for topic in _TOPICS:
        app.include_router(topic.router(runtime), tags=[topic.TAG])

    @app.get("/", include_in_schema=False)
    @needs(READ)
    async def documentation(_request: Request) -> HTMLResponse:
        return page.documentation(app.openapi())

    @app.api_route("/openapi.json", methods=["GET", "HEAD"], include_in_schema=False)
    @needs(READ)
    async def document() -> JSONResponse:
        return JSONResponse(app.openapi())

    return app
