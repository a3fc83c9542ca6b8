from __future__ import annotations

import json
from pathlib import Path

import pytest

from pylae import ConfigError, Gateway
from pylae.config import draft
from pylae.config.checks.check import parse_document
from pylae.config.checks.standing import Standing
from pylae.config.document.load import Document, parse
from pylae.config.document.written import as_written, differences, hidden, mark, written
from pylae.config.models.config import Config

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*.yaml"))


@pytest.mark.parametrize("defaults", [False, True])
@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_what_is_written_reads_as_the_same(file: Path, defaults: bool) -> None:
    config = Gateway.from_file(file).config
    text = json.dumps(written(config, defaults=defaults))
    for name, secret in hidden(config).items():
        assert json.dumps(secret) not in text
        text = text.replace(json.dumps(name), json.dumps(secret))
    text = text.replace("$${", "${")
    assert Config.model_validate(json.loads(text)) == config


def test_a_mark_says_nothing_of_the_secret_but_whether_it_is_the_same() -> None:
    assert mark("a") == mark("a") != mark("b")
    assert len(mark("a")) == len(mark("a" * 1000))


NESTED = """
auth:
  jwt:
    jwks: {keys: [{kty: oct, kid: a, k: "SECRET-of-the-key-set"}]}
services: {all: {instances: ["http://127.0.0.1:1"]}}
plugins:
  - use: mine
    settings:
      credentials: {user: "SECRET-user", others: [{key: "SECRET-other", pin: 12345678}]}
      signing_key: "SECRET-signing"
      all: plain
routes:
  - name: one
    path: /one
    service: all
    auth_required: false
    headers: {X-Api-Key: "SECRET-header"}
    transform: {request: {set: {Authorization: "Bearer SECRET-$${up}"}}}
"""
DEFAULTS = """
auth: {jwt: {secret: "${PYLAE_TEST_UNSET:-SECRET of the default, long enough}"}}
routes:
  - path: /one
    service_url: http://127.0.0.1:1
    transform: {request: {set: {Authorization: "Basic SECRET${PYLAE_TEST_UNSET:-}"}}}
"""


def read(text: str) -> tuple[Config, str]:
    """A configuration, and what is shown of its document."""
    document = parse(text, "pylae.yaml")
    config = parse_document(document)
    return config, json.dumps(as_written(document.root, config))


def handed_in(text: str, current: Config, shown: str) -> tuple[Document, Config]:
    """A document that is handed in for a gateway that shows its configuration so."""
    return draft.read(text, Path("pylae.yaml"), {}, Standing().with_also(current, json.loads(shown)), current)


@pytest.mark.parametrize("text", [NESTED, DEFAULTS])
def test_secrets_are_hidden_wherever_they_stand_and_come_back(text: str) -> None:
    config, shown = read(text)
    assert "SECRET" not in shown
    assert "12345678" not in shown
    assert "SECRET" not in json.dumps(written(config, defaults=True))
    document, again = handed_in(shown, config, shown)
    assert again == config
    assert json.dumps(as_written(document.root, again)) == shown
    kept = json.dumps(as_written(document.root))
    assert parse_document(parse(kept, "applied.json")) == config, "as it is kept over a restart"


def test_what_is_no_secret_is_shown() -> None:
    config, shown = read(NESTED)
    assert '"all": "plain"' in shown
    referring = NESTED.replace("SECRET-of-the-key-set", "${HOME}").replace('"Bearer SECRET-$${up}"', '"Bearer ${HOME}"')
    config, shown = read(referring)
    assert "Bearer ${HOME}" in shown
    assert as_written(parse(referring, "x").root)["auth"]["jwt"]["jwks"]["keys"][0]["k"] == "${HOME}"
    assert config.routes[0].transform


def test_a_secret_that_is_written_elsewhere_too_can_be_put_back() -> None:
    config, shown = read(NESTED.replace("SECRET-signing", "all"))
    _, again = handed_in(shown, config, shown)
    assert again == config


TWO_ROUTES = """
services: {all: {instances: ["http://127.0.0.1:1"]}, other: {instances: ["http://127.0.0.1:2"]}}
auth: {jwt: {secret: [FIRST, SECOND]}}
routes:
  - {name: one, path: /one, service: all, transform: {request: {set: {Authorization: "Bearer one"}}}}
  - {name: two, path: /two, service: other}
"""


def moved(shown: str, *steps: str | int) -> str:
    """The same document with the secret of the first route at this place too."""
    document = json.loads(shown)
    at = document
    for step in steps[:-1]:
        at = at[step] if isinstance(at, list) else at.setdefault(step, {})
    at[steps[-1]] = document["routes"][0]["transform"]["request"]["set"]["Authorization"]
    return json.dumps(document)


@pytest.mark.parametrize(
    "steps",
    [
        ("routes", 1, "transform", "request", "set", "Authorization"),
        ("routes", 0, "transform", "response", "set", "Authorization"),
        ("routes", 0, "transform", "request", "set", "Cookie"),
        ("auth", "jwt", "secret", 0),
        ("routes", 1, "service"),
        ("routes", 1, "name"),
        ("routes", 1, "method"),
        ("services", "other", "instances", 0),
        ("services", "all", "sticky", "secret"),
    ],
)
def test_a_secret_stays_where_it_is(steps: tuple[str | int, ...]) -> None:
    config, shown = read(TWO_ROUTES)
    with pytest.raises(ConfigError) as found:
        handed_in(moved(shown, *steps), config, shown)
    assert "Bearer one" not in str(found.value)
    assert str(steps[-1]) in found.value.problems[0].path


def test_other_items_of_a_list_may_come_and_go() -> None:
    config, shown = read(TWO_ROUTES)
    document = json.loads(shown)
    document["routes"].insert(0, {"name": "zero", "path": "/zero", "service": "all"})
    document["auth"]["jwt"]["secret"][0] = "a new one in front of the second"
    document["auth"]["jwt"]["secret"].reverse()
    _, again = handed_in(json.dumps(document), config, shown)
    assert again.routes[1] == config.routes[0]
    assert again.auth and config.auth
    assert again.auth.jwt[0].secret and config.auth.jwt[0].secret
    assert again.auth.jwt[0].secret[0] == config.auth.jwt[0].secret[1]


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2, "b": 3}, [(("a",), 1, 2), (("b",), None, 3)]),
        ([1, 2], [1], [((1,), 2, None)]),
        ([{"name": "x", "v": 1}, {"name": "y"}], [{"name": "y"}, {"name": "x", "v": 2}], [(("x", "v"), 1, 2)]),
        ([{"url": "x"}], [{"url": "y"}], [(("x",), {"url": "x"}, None), (("y",), None, {"url": "y"})]),
        ({"a": [1]}, {"a": {"b": 1}}, [(("a",), [1], {"b": 1})]),
    ],
)
def test_differences(old: object, new: object, found: list[object]) -> None:
    assert list(differences(old, new)) == found
