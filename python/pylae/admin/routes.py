"""Routes as they are in force, and what one of them does with a request."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Annotated, Any, Literal

import click
from fastapi import APIRouter
from pydantic import BeforeValidator, ConfigDict, Field, StrictBool
from starlette.exceptions import HTTPException

from pylae import engine
from pylae.access.scopes import READ
from pylae.admin.body import Body
from pylae.admin.document import refusals
from pylae.admin.endpoint import needs, topic_router
from pylae.admin.settings import openable
from pylae.cli import explanation
from pylae.cli.shown import Compiled, match, without_credentials
from pylae.config.plan import json_of
from pylae.config.tables import POLICIES
from pylae.errors import EngineError

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "routes"

_TCHAR = "[!#$%&'*+.^_`|~0-9A-Za-z-]"
"""A character of a token (RFC 9110 section 5.6.2)."""
_FieldName = Annotated[str, Field(pattern=f"^{_TCHAR}{{1,128}}$")]
_FieldValue = Annotated[str, Field(pattern=r"^[\t -~]{0,1024}$")]


def _text(value: object) -> object:
    # A number would be taken for an address too.
    if not isinstance(value, str):
        raise ValueError("an address is a text")
    return value


class PolicySeen(Body):
    """A policy of a route."""

    name: str
    """Name of the policy."""
    place: str | None
    """`file:line` where it was written, or `the admin API`; null if a program added it."""


class RouteSeen(Body):
    """A route in force."""

    name: str
    """Name of the route."""
    methods: list[str]
    """Methods that it takes; all of them if there is none."""
    kind: str
    """How its path is compared: `exact`, `template`, `pattern` or `prefix`."""
    path: str
    """The path, template, pattern or prefix."""
    conditions: list[str]
    """What else a request must have: hosts, fields, parameters."""
    services: list[str]
    """The service that its requests go to, or those that they are split over."""
    policies: list[PolicySeen]
    """Its policies, in the order in which they run, gateway-wide ones included."""
    place: str | None
    """`file:line` where it was written, or `the admin API`; null if a program added it."""


class Routes(Body):
    """All routes."""

    revision: str
    """Revision of the configuration in force."""
    routes: list[RouteSeen]
    """The routes, in the order of their declaration."""
    services: dict[str, str | None]
    """Where each service was written, likewise."""


class Question(Body):
    """A request."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"method": "GET", "target": "/orders/7"}]})

    method: Annotated[str, Field(pattern=f"^{_TCHAR}{{1,32}}$")] = "GET"
    """Its method."""
    target: Annotated[str, Field(min_length=1, max_length=8192, pattern=r"^[!-~]+$")]
    """Its path, with the query."""
    headers: Annotated[list[tuple[_FieldName, _FieldValue]], Field(max_length=16)] = []
    """Its fields, with Host."""
    client: Annotated[IPv4Address | IPv6Address, BeforeValidator(_text)] = IPv4Address("127.0.0.1")
    """Address of the client."""
    secure: StrictBool = False
    """Whether it comes over TLS."""


class Explanation(Body):
    """What would become of a request."""

    lines: list[str]
    """The explanation, as `pylae explain` prints it."""
    explanation: dict[str, Any]
    """The same for programs, as `pylae explain --json` prints it."""
    outcome: Literal["route", "method_not_allowed", "misdirected", "not_found", "bad_request"]
    """What becomes of it."""


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router()
    kept: dict[str, Routes] = {}
    one_at_a_time = threading.Lock()

    @topic.get("/routes")
    @needs(READ)
    def list_routes() -> Routes:
        """Lists the routes in force, each with its policies and where it was written."""
        with one_at_a_time, runtime.changing:
            revision = runtime.revision
            if revision not in kept:
                kept.clear()
                described = _described(runtime, revision).model_dump()
                kept[revision] = Routes.model_validate(openable(runtime, described))
            return kept[revision]

    @topic.post("/explain", responses=refusals({422: "That is no request."}))
    @needs(READ, changes=False)
    def explain_request(question: Question) -> Explanation:
        """Explains what the configuration in force does with a request. Sends nothing.

        The instance that would be picked, and what limits would say, is that of a gateway that has just started.
        """
        request = {
            "method": question.method,
            "target": question.target,
            "headers": [list(field) for field in question.headers],
            "client": str(question.client),
            "secure": question.secure,
        }
        # It builds all that the plan says, which takes a while for a large one.
        with one_at_a_time:
            with runtime.changing:
                plan, builder = runtime.registry.filled(runtime.plan), runtime.builder
            try:
                answer = engine.explain(json_of(plan), json.dumps(request))
            except EngineError as error:
                raise HTTPException(422, str(error)) from None
        complete = openable(runtime, explanation.complete(answer, dict(runtime.plan), builder))
        told = without_credentials(request, plan)
        lines = [click.unstyle(line) for line in explanation.lines(told, complete, False)]
        return Explanation(lines=lines, explanation={"request": told, **complete}, outcome=answer["outcome"])

    return topic


def _described(runtime: Runtime, revision: str) -> Routes:
    plan = runtime.plan
    compiled = Compiled(runtime.builder, plan)
    order = {name: position for position, name in enumerate(POLICIES)}
    return Routes(
        revision=revision,
        routes=[_route(compiled, index, route, order) for index, route in enumerate(plan["routes"])],
        services={one["name"]: _place(compiled, f"services[{index}]") for index, one in enumerate(plan["services"])},
    )


def _route(compiled: Compiled, index: int, route: Mapping[str, Any], order: Mapping[str, int]) -> RouteSeen:
    path = f"routes[{index}]"
    clauses = match(compiled, path, route["match"])
    members = [member["service"] for member in route["split"]["members"]] if route["split"] else [route["service"]]
    return RouteSeen(
        name=route["name"],
        methods=clauses["methods"],
        kind=clauses["path"]["kind"],
        path=clauses["path"]["value"],
        conditions=list(_conditions(clauses)),
        services=[name for name in members if name],
        policies=[
            PolicySeen(name=name, place=_place(compiled, f"{path}.policies.{name}"))
            for name in sorted(route["policies"], key=lambda name: order.get(name, len(order)))
        ],
        place=_place(compiled, path),
    )


def _conditions(clauses: Mapping[str, Any]) -> Iterator[str]:
    if clauses["hosts"]:
        yield f"host {', '.join(clauses['hosts'])}"
    for kind, key in (("header", "headers"), ("query", "query")):
        for test in clauses[key]:
            value = test["value"]
            yield f"{kind} {test['name']}{_test(value)}"


def _test(value: str | Mapping[str, str]) -> str:
    if isinstance(value, str):  # "present"
        return ""
    return f" = {value['equals']}" if "equals" in value else f" ~ {value['pattern']}"


def _place(compiled: Compiled, path: str) -> str | None:
    place = compiled.locate(path, key=True)
    return f"{place.file}:{place.line}" if place.file and place.line else None
