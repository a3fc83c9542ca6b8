"""Each endpoint of the admin API declares the scope that it needs, and its document shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute

from pylae.access.scopes import CONFIGURE, OPERATE, READ, REGISTER
from pylae.admin import guard
from pylae.admin.app import application
from pylae.admin.endpoint import OPEN, Endpoint, needs, topic_router
from pylae.config.builder import ConfigBuilder
from pylae.runtime.runtime import Runtime

SHOWN = {READ, OPERATE, CONFIGURE, f"{REGISTER}:SERVICE"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """The admin API of a gateway that does not run."""
    folder: Path = tmp_path_factory.mktemp("scopes")
    builder = ConfigBuilder({"state": str(folder)})
    return application(Runtime(builder, lambda _: builder))


def routes(found: list[BaseRoute]) -> Iterator[BaseRoute]:
    """All routes, also those of topics. Old versions of FastAPI copy them, new ones refer to their router."""
    for one in found:
        router = getattr(one, "original_router", None)
        yield from routes(router.routes) if isinstance(router, APIRouter) else [one]


def test_every_route_is_an_endpoint_with_a_scope(app: FastAPI) -> None:
    found = list(routes(app.routes))
    assert len(found) > 25
    assert [one for one in found if not isinstance(one, Endpoint)] == []
    undeclared = {one.path for one in found if isinstance(one, Endpoint) and one.needs.scope == OPEN}
    assert undeclared == set(guard._PROBES)


def test_the_document_shows_the_scope_of_each_operation(app: FastAPI) -> None:
    document: dict[str, Any] = app.openapi()
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            security = operation["security"]
            if path in guard._PROBES:
                assert security == [], path
                continue
            ((scope,),) = [one["token"] for one in security]
            assert scope in SHOWN, (method, path)
            assert operation["description"].endswith(f"Needs the scope `{scope}`."), (method, path)
            assert operation["description"].count("Needs the scope") == 1
            # What only reads says so, apart from the tail and from what is found out about single requests.
            if method == "get":
                watched = path == "/exchanges/tail" or path.startswith("/traces")
                assert scope == (OPERATE if watched else READ), path


def test_an_endpoint_without_a_scope_cannot_be_made() -> None:
    topic = topic_router("/x")

    def nothing() -> None:
        """Does nothing."""

    with pytest.raises(TypeError, match="/x/y declares no scope"):
        topic.get("/y")(nothing)
    with pytest.raises(TypeError, match="of no service"):
        topic.post("/y")(needs(REGISTER)(nothing))
    with pytest.raises(ValueError, match="'all' is not a scope"):
        needs("all")
