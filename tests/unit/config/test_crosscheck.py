"""What works and is doubtful: `check` warns of it, and says what to write."""

from __future__ import annotations

from typing import Any

import pytest

from pylae import Gateway
from pylae.config.checks.crosscheck import weaknesses

JSON_AND_MORE = {"max_body": "15MB", "json_body": True}


def warned(policies: dict[str, Any] | None = None, **route: Any) -> list[str]:
    fields = {"path": "/a", "service_url": "http://a", "auth_required": False, **route}
    found = weaknesses(Gateway(routes=[fields], policies=policies or {}).config)
    return [f"{'.'.join(map(str, finding.path))}: {finding.message} ({finding.hint})" for finding in found]


def test_json_bodies_have_a_bound_of_their_own() -> None:
    words = (
        "validation.max_body: bodies above 1MB are still refused, because `json_body` keeps them in memory "
        "(`json_body: {max_size: 15MB}` lets them pass)"
    )
    assert warned(validation=JSON_AND_MORE) == [f"routes.0.{words}"]
    assert warned({"validation": JSON_AND_MORE}) == [f"policies.{words}"]
    assert warned(validation={"max_body": "15MB", "json_body": {"max_depth": 5}}) == [f"routes.0.{words}"]


def test_the_other_way_round_too() -> None:
    words = (
        "routes.0.validation.json_body.max_size: bodies above 10MB are still refused by `max_body` "
        "(`max_body: 20MB` beside `json_body` lets them pass)"
    )
    assert warned(validation={"json_body": {"max_size": "20MB"}}) == [words]


@pytest.mark.parametrize(
    "validation",
    [
        True,
        False,
        {"json_body": True},
        {"max_body": "15MB"},
        {"max_body": "512KB", "json_body": True},
        {"max_body": "15MB", "json_body": False},
        {"max_body": "15MB", "json_body": {"max_size": "15MB"}},
        {"max_body": "15MB", "json_body": {"max_size": "1MB"}},
    ],
)
def test_bounds_that_are_clear(validation: Any) -> None:
    assert warned(validation=validation) == []


def warned_of_splits(*routes: dict[str, Any]) -> list[str]:
    services = {name: {"instances": [f"http://{name}"]} for name in ("a", "b", "c")}
    given = [{"path": f"/{place}", "auth_required": False, **route} for place, route in enumerate(routes)]
    found = weaknesses(Gateway(routes=given, services=services).config)
    return [f"{'.'.join(map(str, finding.path))}: {finding.message} ({finding.hint})" for finding in found]


WHEN = {"header": {"X-Beta": True}}


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({"split": ["a"]}, "split: a split with one member has no effect (write `service: a`)"),
        (
            {"split": [{"service": "a", "when": WHEN}, {"service": "b", "weight": 0}]},
            (
                "split: requests that match no `when` get 503, because no member has a weight "
                "(give one of them a weight, or put `headers` on the route)"
            ),
        ),
        (
            {"split": [{"service": "a", "when": WHEN}, {"service": "b", "when": WHEN}, "c"]},
            "split.1.when: this `when` has no effect, because an earlier member has the same one (None)",
        ),
        (
            {"split": [{"service": "a", "when": WHEN}, "b"], "sticky": True},
            (
                "sticky: `sticky` has no effect, because at most one member is chosen by weight "
                "(a `when` is evaluated for each request)"
            ),
        ),
    ],
)
def test_splits_of_which_something_does_nothing(route: dict[str, Any], words: str) -> None:
    assert warned_of_splits(route) == [f"routes.0.{words}"]


@pytest.mark.parametrize(
    "route",
    [
        {"split": ["a", "b"], "sticky": "cookie"},
        {"split": [{"service": "a", "weight": 100}, {"service": "b", "weight": 0}], "sticky": {"ttl": "1h"}},
        {"split": [{"service": "a", "headers": {"set": {"X-Variant": "a"}}}]},
        {"split": [{"service": "a", "when": WHEN, "weight": 1}, "b"], "sticky": True},
    ],
)
def test_splits_that_are_clear(route: dict[str, Any]) -> None:
    assert warned_of_splits(route) == []


def test_splits_that_take_each_others_cookie() -> None:
    def sticky(cookie: str, *services: str) -> dict[str, Any]:
        return {"split": list(services), "sticky": {"cookie": cookie}}

    assert warned_of_splits(sticky("x", "a", "b"), sticky("x", "b", "a"), sticky("y", "a", "c")) == []
    words = (
        "routes.1.sticky: routes[0] uses the same cookie for other services, so the routes overwrite each other's "
        "choice (give it another name: `sticky: {cookie: …}`)"
    )
    assert warned_of_splits(sticky("x", "a", "b"), sticky("x", "a", "c")) == [words]


@pytest.mark.parametrize("path", ["/users/:id", "/:tenant/users"])
def test_colons_are_no_parameters(path: str) -> None:
    words = "`:` does not start a parameter here; it matches only itself (write `path` with `{id}` for `:id`)"
    assert warned(path=path) == [f"routes.0.path: {words}"]
    assert warned(path=None, prefix=path) == [f"routes.0.prefix: {words}"]


@pytest.mark.parametrize("path", ["/api/*", "/api/**"])
def test_stars_stand_for_nothing_else(path: str) -> None:
    words = "`*` is not a wildcard here; it matches only itself"
    hint = "(`prefix: /api` takes `/api` and everything below it)"
    assert warned(path=path) == [f"routes.0.path: {words} {hint}"]
    assert warned(path=None, prefix=path) == [f"routes.0.prefix: {words} {hint}"]


@pytest.mark.parametrize("path", ["/users/{id:int}", "/v1/x:batch", "/a*b", "/*/b", "/at/12:30"])
def test_paths_that_are_clear(path: str) -> None:
    assert warned(path=path) == []
