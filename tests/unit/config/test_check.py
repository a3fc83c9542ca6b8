from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import SecretStr, ValidationError

from pylae.config import draft
from pylae.config.checks.check import parse_document
from pylae.config.checks.explain import problems_of
from pylae.config.checks.pieces import LARGE
from pylae.config.checks.standing import Standing
from pylae.config.document.load import parse, read
from pylae.config.document.nodes import Tree
from pylae.config.document.reader import MAX_PROBLEMS
from pylae.config.document.sources import DocumentSources
from pylae.config.document.written import as_written
from pylae.config.models.base import Settings
from pylae.config.models.config import Config
from pylae.errors import ConfigError
from pylae.policies.validation import JsonBody

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
        assert "the circuit breaker belongs to the service" in problems(text)[0]


def test_breakers_of_routes_that_declare_a_service_must_agree() -> None:
    one = "{path: /a, service_url: 'http://x', auth_required: false, circuit_breaker: true}"
    two = "{path: /b, service_url: 'http://x', auth_required: false, circuit_breaker: false}"
    silent = "{path: /c, service_url: 'http://x', auth_required: false}"
    config(f"routes: [{silent}, {one}]")
    assert "another route of the same service" in problems(f"routes: [{one}, {two}]")[0]


GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*.yaml"))


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_piece_by_piece_is_the_same_as_at_once(file: Path) -> None:
    document = read(file)
    found = parse_document(document)
    whole = Config.model_validate(document.root.plain())
    assert found == whole
    assert found.model_fields_set == whole.model_fields_set


def test_no_more_problems_are_told_than_anybody_reads() -> None:
    found = problems(f"{SERVICE}routes: [{', '.join(['{path: x, service: users}'] * 3000)}]")
    assert len(found) == MAX_PROBLEMS + 1
    assert found[0].startswith("test.yaml:2:17: routes[0].path: must start with `/`")
    assert found[-1] == f"test.yaml: there are more than these {MAX_PROBLEMS} problems"
    missing = ", ".join(f"{{path: /{index}, service: nobody, auth_required: false}}" for index in range(3000))
    assert len(problems(f"routes: [{missing}]")) == MAX_PROBLEMS + 1


def test_of_a_very_large_piece_the_first_problem_of_each_list_is_told() -> None:
    good, bad = ", ".join(['"10.0.0.1"'] * LARGE), ", ".join(['"10.0.0.x"'] * LARGE)
    assert len(config(f"trusted_proxies: [{good}, {good}]").trusted_proxies) == 2 * LARGE
    found = problems(f"trusted_proxies: [{good}, {bad}]\nlisteners: [5]\n")
    assert [problem.partition(": ")[2].partition(":")[0] for problem in found] == [
        "the configuration",
        f"trusted_proxies[{LARGE}]",
        "listeners[0]",
    ]
    assert "only the first problem of each list" in found[0]


def test_nor_does_a_very_large_mapping_have_more() -> None:
    consumers = ", ".join(f"c{index}: 5" for index in range(2 * LARGE))
    assert len(problems(f"auth: {{api_key: {{consumers: {{{consumers}}}}}}}")) <= MAX_PROBLEMS + 1


def test_settings_of_any_kind_are_not_the_document_itself() -> None:
    document = parse("plugins: [{use: x, settings: {a: {b: [1]}}}]", "test.yaml")
    found = parse_document(document)
    found.plugins[0].settings["a"]["b"].append(2)
    assert as_written(document.root)["plugins"][0]["settings"] == {"a": {"b": [1]}}


def test_a_document_that_was_refused_is_gone_at_once() -> None:
    """Nothing about it refers to itself, and waits for the next collection of garbage with all that was read."""

    def trees() -> int:
        return sum(isinstance(one, Tree) for one in gc.get_objects())

    gc.collect()
    before = trees()
    gc.disable()
    try:
        for text in ("routes: [5]", "routes: [{path: /, service: x}]", "a: (hidden:000000000000000000000000)", "a: [5"):
            with pytest.raises(ConfigError):
                draft.read(text, Path("test.yaml"), {}, Standing(Config()), Config())
        kept = draft.read("limits: {max_body: 5}", Path("test.yaml"), {}, Standing(Config()), Config())
        assert trees() == before + 1
        del kept
        assert trees() == before
    finally:
        gc.enable()
