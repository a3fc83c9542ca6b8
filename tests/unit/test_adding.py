"""What is handed to `add_route` and `add_service`: taken where it is clear, refused with a way out where it is not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from pylae import ConfigError, Gateway, Route, Service

FIELDS: dict[str, Any] = {"name": "users", "path": "/users", "service": "u", "auth_required": False}
URLS = ["http://127.0.0.1:1", "http://127.0.0.1:2"]


@pytest.mark.parametrize("how", ["model", "mapping", "keywords"])
def test_a_route_may_be_given_as_a_model_a_mapping_or_keywords(how: str) -> None:
    gateway = Gateway()
    gateway.add_service("u", URLS)
    line = sys._getframe().f_lineno + 1
    gateway.add_route(**FIELDS) if how == "keywords" else gateway.add_route(
        Route(**FIELDS) if how == "model" else FIELDS
    )
    assert gateway.config.routes == (Route(**FIELDS),)
    gateway.plan()
    place = gateway.builder.locate(gateway.plan(), "routes[0]")
    assert (place.file, place.line) == (__file__, line)


@pytest.mark.parametrize(
    "given",
    [
        Service(instances=URLS),
        {"instances": URLS},
        URLS,
        tuple(URLS),
        [{"url": URLS[0]}, URLS[1]],
    ],
    ids=["model", "mapping", "list", "tuple", "list with a mapping"],
)
def test_a_service_may_be_given_as_a_model_a_mapping_or_its_instances(given: Any) -> None:
    gateway = Gateway()
    gateway.add_service("u", given)
    assert [instance["url"] for instance in gateway.plan()["services"][0]["instances"]] == URLS
    gateway.add_service("one", URLS[0])
    gateway.add_service("weighted", URLS, load_balancer="random")
    assert gateway.config.services["one"] == Service(instances=[URLS[0]])
    assert gateway.config.services["weighted"] == Service(instances=URLS, load_balancer="random")


@pytest.mark.parametrize(
    ("add", "path", "message", "hint"),
    [
        (lambda gateway: gateway.add_route({"path": "/a", "methd": "GET"}), "methd", "unknown key `methd`", "`method`"),
        (lambda gateway: gateway.add_route(path="/a", servce="x"), "servce", "unknown key `servce`", "`service`"),
        (lambda gateway: gateway.add_route({"path": "a", "service": "u"}), "path", 'start with `/`; found "a"', None),
        (lambda gateway: gateway.add_route("/users"), "", 'found "/users"', 'add_route(path="/users", service="…")'),
        (lambda gateway: gateway.add_route(), "", "a route is missing", "add_route(path="),
        (lambda gateway: gateway.add_route(None), "", "a route is missing", "add_route(path="),
        (lambda gateway: gateway.add_route([{"path": "/a"}]), "", "found a list", "one call for each"),
        (lambda gateway: gateway.add_route(Service(instances=URLS)), "", "found a Service", "add_service"),
        (lambda gateway: gateway.add_route(Route(**FIELDS), name="b"), "", "a Route and further", "Route(…)"),
        (lambda gateway: gateway.add_service("u", 5), "services.u", "found 5", '["http://'),
        (lambda gateway: gateway.add_service("u", None), "services.u", "instances are missing", '["http://'),
        (lambda gateway: gateway.add_service("u"), "services.u", "instances are missing", '["http://'),
        (lambda gateway: gateway.add_service("u", Route(**FIELDS)), "services.u", "found a Route", "add_route"),
        (
            lambda gateway: gateway.add_service("u", ["127.0.0.1:1"]),
            "services.u.instances[0].url",
            "URL",
            "http://host",
        ),
        (lambda gateway: gateway.add_service("u", [5]), "services.u.instances[0]", "found 5", None),
        (lambda gateway: gateway.add_service("u", {"instance": URLS}), "services.u.instance", "unknown", "`instances`"),
        (lambda gateway: gateway.add_service("u", Service(), queue=5), "services.u", "a Service and further", None),
        (lambda gateway: gateway.add_service(URLS, "u"), "", "found a list", None),
    ],
)
def test_what_is_wrong_is_said_with_place_and_way_out(
    add: Callable[[Gateway], object], path: str, message: str, hint: str | None
) -> None:
    gateway = Gateway()
    with pytest.raises(ConfigError) as caught:
        add(gateway)
    (problem,) = [problem for problem in caught.value.problems if problem.path == path]
    assert (problem.file, problem.line) == (__file__, add.__code__.co_firstlineno)
    assert message in problem.message
    assert hint is None or hint in (problem.hint or "")
    assert gateway.config == Gateway().config, "what is refused leaves nothing behind"
