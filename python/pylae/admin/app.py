"""The application behind the door: one module per topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from pylae.admin import breakers, cache, configuration, exchanges, limits, monitoring, page, services, status
from pylae.admin.problems import MEDIA_TYPE, Refusal, add_handlers

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

# What asks the engine takes a while, since all is counted up, and the configuration may have to wait for an apply, and
# that for a hook: such functions are no coroutines, so that they run beside the loop, which goes on with the rest.
_TOPICS = (status, monitoring, configuration, services, breakers, limits, cache, exchanges)


def application(runtime: Runtime) -> FastAPI:
    """The admin API of a gateway."""
    app = FastAPI(
        title="Pylae admin API",
        version="1",
        description="See and steer a running gateway. Every request but for `/live` and `/ready` needs the token: "
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
