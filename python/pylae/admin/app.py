"""The application of the admin API, with one module per topic. The guard has let the request in before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from pylae.admin import (
    breakers,
    cache,
    configuration,
    exchanges,
    limits,
    monitoring,
    nodes,
    page,
    revocations,
    services,
    status,
)
from pylae.admin.problems import MEDIA_TYPE, Refusal, add_handlers

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

# Handlers that ask the engine or the configuration may take a while: statistics are summed up, and an apply may be
# waiting for a hook. They are plain functions, so that they run on threads and do not block the event loop.
_TOPICS = (status, monitoring, configuration, services, breakers, limits, cache, nodes, revocations, exchanges)


def application(runtime: Runtime) -> FastAPI:
    """Returns the admin API of a gateway."""
    app = FastAPI(
        title="Pylae admin API",
        version="1",
        description="Shows and controls a running gateway. All requests except `/live` and `/ready` need the token: "
        "`Authorization: Bearer TOKEN`.",
        docs_url=None,
        redoc_url=None,
        responses={"default": {"description": "Refused", "model": Refusal, "content": {MEDIA_TYPE: {}}}},
        redirect_slashes=False,
    )
    add_handlers(app)
    app.add_middleware(configuration.Lean)
    for topic in _TOPICS:
        app.include_router(topic.router(runtime), tags=[topic.TAG])

    @app.get("/", include_in_schema=False)
    async def documentation(_request: Request) -> HTMLResponse:
        return page.documentation(app.openapi())

    return app
