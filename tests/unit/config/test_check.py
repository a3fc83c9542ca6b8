from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest
from pydantic import SecretStr, ValidationError

from pylae.config.check import parse_document, problems_of
from pylae.config.load import parse
from pylae.config.model import Config
from pylae.config.sources import DocumentSources
from pylae.errors import ConfigError
from pylae.policies.validation import JsonBody
from pylae.settings import Settings

SERVICE = 'services: {users: {instances: ["http://127.0.0.1:9001"]}}\n'
SCHEMA = Config.model_json_schema()


def config(text: str, environ: Mapping[str, str] | None = None) -> Config:
    return parse_document(parse(text, "test.yaml", environ=environ or {}))


def problems(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config(text, environ)
    return [str(problem) for problem in caught.value.problems]


def test_the_smallest_configuration() -> None:
    assert config("{}") == Config()


def test_numbers_and_truth_values_from_the_environment() -> None:
    text = (
        "workers: ${W}\nlimits: {max_body: '${B}'}\nroutes: [{path: /, service_url: 'http://a', auth_required: '${A}'}]"
    )
    found = config(text, {"W": "3", "B": "1KB", "A": "false"})
    assert (found.workers, found.limits.max_body, found.routes[0].auth_required) == (3, 1024, False)


@pytest.mark.parametrize(
    ("policy", "short", "long"),
    [
        ("cache", "5m", {"ttl": "5m"}),
        ("cache", 300, {"ttl": 300}),
        ("cors", "*", {"origins": ["*"]}),
        ("cors", "https://a.test", {"origins": ["https://a.test"]}),
        ("cors", ["https://a.test", "https://b.test"], {"origins": ["https://a.test", "https://b.test"]}),
        ("compression", "gzip", {"algorithms": ["gzip"]}),
        ("compression", ["br", "gzip"], {"algorithms": ["br", "gzip"]}),
    ],
)
def test_a_policy_with_one_main_setting_has_a_short_form(policy: str, short: Any, long: Any) -> None:
    for place in ("policies", "routes"):
        given = [
            {"policies": {policy: value}}
            if place == "policies"
            else {"routes": [{"path": "/", "service_url": "http://a", policy: value}]}
            for value in (short, long)
        ]
        assert Config.model_validate(given[0]) == Config.model_validate(given[1])
        jsonschema.validate(given[0], SCHEMA)


def test_a_json_body_has_a_json_type_however_it_is_asked_for() -> None:
    asked = (True, {}, {"max_depth": 64}, JsonBody())
    types = {
        Config.model_validate({"policies": {"validation": {"json_body": body}}}).policies.validation.content_types  # type: ignore[union-attr]
        for body in asked
    }
    assert types == {("application/json", "application/*+json")}


def test_errors_of_shape_and_of_sense_come_together() -> None:
    text = f"workers: x\n{SERVICE}routes:\n  - {{path: /, service: nobody, auth_required: false}}\n"
    assert len(problems(text)) == 2


def test_a_service_with_errors_is_still_known() -> None:
    text = "services: {users: {instances: 5}}\nroutes: [{path: /, service: users, auth_required: false}]\n"
    assert problems(text) == ["test.yaml:1:31: services.users.instances: must be a list; found 5"]


def test_a_service_that_a_wrong_route_declares_is_known() -> None:
    wrong = "{path: a, service: x, service_url: 'http://x', auth_required: false}"
    right = "{path: /b, service: x, auth_required: false}"
    assert problems(f"routes: [{wrong}, {right}]") == ['test.yaml:1:17: routes[0].path: must start with `/`; found "a"']


def test_wrong_services_do_not_make_every_route_wrong() -> None:
    text = "services: [users]\nroutes: [{path: /, service: users, auth_required: false}]\n"
    assert problems(text) == ["test.yaml:1:11: services: must be a mapping; found a list (write `services: {NAME: …}`)"]


def test_a_secret_is_not_shown_even_if_it_is_written_out() -> None:
    class Key(Settings):
        secret: SecretStr

    class Auth(Settings):
        keys: tuple[Key, ...] = ()

    document = parse("keys: [{secret: [hunter2]}, {secret: 42}]\n", "test.yaml")
    with pytest.raises(ValidationError) as caught:
        Auth.model_validate(document.root.plain())
    found = [str(problem) for problem in problems_of(caught.value, DocumentSources(document), Auth)]
    assert found == [
        "test.yaml:1:17: keys[0].secret: must be a text; found a value that is not shown (put quotes around it)",
        "test.yaml:1:38: keys[1].secret: must be a text; found a value that is not shown (put quotes around it)",
    ]
    assert "hunter2" not in str(caught.value)


def test_the_same_service_url_may_be_declared_again() -> None:
    route = "{{path: /{0}, service: x, service_url: 'http://x:1/', auth_required: false}}"
    assert len(config(f"routes: [{route.format('a')}, {route.format('b')}]").routes) == 2


@pytest.mark.parametrize(
    ("on_service", "on_route", "agree"),
    [
        ("true", "true", True),
        ("{failure_threshold: 9}", "true", True),
        ("{failure_threshold: 9}", "{failure_threshold: 9}", True),
        ("{failure_threshold: 9}", "{failure_threshold: 8}", False),
        ("false", "false", True),
        ("false", "true", False),
        ("true", "false", False),
    ],
)
def test_breakers_of_route_and_service_must_agree(on_service: str, on_route: str, agree: bool) -> None:
    text = (
        f"services: {{x: {{instances: ['http://x'], circuit_breaker: {on_service}}}}}\n"
        f"routes: [{{path: /, service: x, auth_required: false, circuit_breaker: {on_route}}}]\n"
    )
    if agree:
        config(text)
    else:
        assert "a circuit breaker belongs to the service" in problems(text)[0]


def test_breakers_of_routes_that_declare_a_service_must_agree() -> None:
    one = "{path: /a, service_url: 'http://x', auth_required: false, circuit_breaker: true}"
    two = "{path: /b, service_url: 'http://x', auth_required: false, circuit_breaker: false}"
    silent = "{path: /c, service_url: 'http://x', auth_required: false}"
    config(f"routes: [{silent}, {one}]")
    assert "another route of the same service" in problems(f"routes: [{one}, {two}]")[0]
