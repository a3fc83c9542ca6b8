from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from pylae import ConfigError
from pylae.config import draft
from pylae.config.checks.advice import kinds
from pylae.config.checks.audience import SEEN_BY, seen_by
from pylae.config.checks.check import parse_document
from pylae.config.checks.standing import FILES, Standing, takings
from pylae.config.document.load import parse
from pylae.config.document.written import as_written
from pylae.config.models.config import Config
from pylae.config.models.errors import PageFile
from pylae.config.models.service import Service
from pylae.config.models.tls import PemFile

FILE = Path("pylae.yaml")
INSIDE = """
listeners: [{address: "127.0.0.1:1"}]
auth: {jwt: {secret: ["${A}", "${B}"]}}
services:
  one: {instances: ["http://127.0.0.1:1"], health_check: {path: "/health?key=${A}"}, sticky: {secret: "${B}"}}
  two: {instances: ["http://127.0.0.1:2"]}
plugins:
  - {use: signing, routes: named, settings: {secret: "${A}", url: "http://127.0.0.1:3"}}
hooks:
  - {on_request: "debug:dump", routes: other}
routes:
  - {name: named, path: /named, service: one, auth_required: false}
  - {name: other, path: /other, service: two, auth_required: false}
  - path: /nameless
    service: one
    auth_required: false
    transform: {request: {set: {X-Key: "${A}"}}}
  - name: sending
    path: /sending
    service: one
    auth_required: false
    rewrite: "/bot${A}/send"
    rate_limit: "${LIMIT:-5}"
    headers: {X-Shared: "${B}"}
"""


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", "value-of-A")
    monkeypatch.setenv("B", "value-of-B")


def written(text: str = INSIDE) -> tuple[dict[str, Any], Config]:
    document = parse(text, str(FILE))
    return as_written(document.root), parse_document(document)


def hand_in(changed: Any, text: str = INSIDE) -> Config:
    """A document that is handed in for a gateway with this configuration. Raises ConfigError."""
    before, config = written(text)
    standing = Standing(config).with_also(config, before)
    return draft.read(json.dumps(changed), FILE, {}, standing, config)[1]


def refused(changed: Any, text: str = INSIDE) -> list[str]:
    """The places that are refused."""
    with pytest.raises(ConfigError) as found:
        hand_in(changed, text)
    assert "value-of" not in str(found.value)
    return [problem.path for problem in found.value.problems]


def test_the_same_is_taken_again() -> None:
    document, config = written()
    assert hand_in(document) == config


def test_the_order_of_named_and_nameless_items_is_free() -> None:
    document, _ = written()
    document["routes"].reverse()
    document["auth"]["jwt"]["secret"].reverse()
    document["routes"].insert(0, {"path": "/more", "service": "two", "auth_required": False})
    assert len(hand_in(document).routes) == 5


def test_a_nameless_route_is_known_by_where_it_goes() -> None:
    document, _ = written()
    nameless = document["routes"][2]
    nameless["timeout"] = "5s"
    assert hand_in(document)
    nameless["service"] = "two"
    assert refused(document) == ["routes[2].transform.request.set.X-Key"]


SPLIT = """
services:
  stable: {instances: ["http://127.0.0.1:1"]}
  canary: {instances: ["http://127.0.0.1:2"]}
routes:
  - name: shop
    path: /shop
    auth_required: false
    split:
      - {service: stable, weight: 9}
      - {service: canary, weight: 1, headers: {set: {X-Key: "${A}"}}, when: {cookie: {team: "${B}"}}}
    sticky: {secret: "${B}"}
"""


def test_what_one_member_of_a_split_is_sent_does_not_go_to_another() -> None:
    document, config = written(SPLIT)
    members = document["routes"][0]["split"]
    members[0]["weight"], members[1]["weight"] = 1, 1
    assert hand_in(document, SPLIT) != config
    members[0]["headers"] = members[1].pop("headers")
    assert refused(document, SPLIT) == ["routes[0].split[0].headers.set.X-Key"]
    document, _ = written(SPLIT)
    document["routes"][0]["split"][1]["service"] = "stable"
    document["routes"][0]["split"][0]["service"] = "canary"
    found = refused(document, SPLIT)
    assert "routes[0].split[1].headers.set.X-Key" in found


def test_what_a_plugin_does_with_its_secret_does_not_change() -> None:
    document, _ = written()
    document["plugins"][0]["settings"]["url"] = "http://thief.example"
    assert refused(document) == ["plugins[0].settings.secret"]
    document, _ = written()
    document["routes"][0]["service"] = "two"
    assert refused(document) == ["plugins[0].settings.secret"]
    document, _ = written()
    document["plugins"][0]["routes"] = "other"
    assert refused(document) == ["plugins[0].settings.secret"]


def test_code_that_sees_a_secret_on_its_way_is_a_destination() -> None:
    document, _ = written()
    document["hooks"][0]["routes"] = "other|sending"
    assert refused(document) == ["routes[3].rewrite", "routes[3].headers.X-Shared"]
    document["hooks"][0]["routes"] = "other"
    assert hand_in(document)


def test_code_of_authenticators_stays_in_its_place() -> None:
    text = INSIDE.replace("auth: {", 'auth: {functions: {who: "debug:who"}, ')
    document, _ = written(text)
    document["auth"]["functions"]["who"] = {"function": "debug:who", "key": "header:X-Token", "cache": "1m"}
    assert hand_in(document, text)
    document["auth"]["functions"]["who"] = "os:system"
    assert refused(document, text) == ["auth.functions.who"]
    document["auth"]["functions"] = {"who": "debug:who", "other": "debug:dump"}
    assert refused(document, text) == ["auth.functions.other"]
    document, _ = written()
    document["auth"]["functions"] = {"who": "debug:who"}
    assert "auth.functions.who" in refused(document)
    assert hand_in(document, f"{INSIDE}admin: {{code: ['debug:who'], references: [A, B]}}\n")


def test_code_and_secrets_of_offered_authenticators_stay_in_their_place() -> None:
    staff = 'plugins: {staff: {use: acme-ldap, settings: {url: "ldaps://one", password: "${A}"}}}'
    text = INSIDE.replace("auth: {", f"auth: {{{staff}, ")
    document, _ = written(text)
    document["auth"]["plugins"]["staff"]["cache"] = "1m"
    document["auth"]["plugins"]["staff"]["key"] = "header:X-Token"
    assert refused(document, text) == ["auth.plugins.staff.settings.password"]
    document, _ = written(text)
    document["auth"]["plugins"]["staff"]["settings"]["url"] = "ldaps://thief.example"
    assert refused(document, text) == ["auth.plugins.staff.settings.password"]
    document, _ = written(text)
    document["services"]["two"]["instances"] = ["http://thief.example"]
    assert "auth.plugins.staff.settings.password" in refused(document, text)
    document, _ = written(text)
    document["auth"]["plugins"]["staff"]["use"] = "debug:Everybody"
    assert "auth.plugins.staff.use" in refused(document, text)
    document, _ = written(text)
    document["auth"]["plugins"]["other"] = {"use": "acme-ldap"}
    assert refused(document, text) == ["auth.plugins.other.use"]


def test_a_health_check_goes_to_the_instances() -> None:
    document, _ = written()
    document["services"]["one"]["instances"] = ["http://127.0.0.1:1", "http://thief.example:80"]
    places = refused(document)
    assert "services.one.health_check.path" in places
    assert not [place for place in places if place.startswith(("services.one.sticky", "auth"))]
    document["services"]["one"]["instances"] = ["http://127.0.0.1:1"]
    assert hand_in(document)


TOKEN = """
services:
  one:
    instances: ["http://127.0.0.1:1"]
    client_credentials: {token_url: "https://id.test/token", client_id: gateway, client_secret: "${A}"}
routes:
  - {name: a, path: /a, service: one, auth_required: false, rewrite: "/bot${B}"}
"""


def test_the_secret_for_a_token_endpoint_goes_to_no_other() -> None:
    document, _ = written(TOKEN)
    own = document["services"]["one"]["client_credentials"]
    own["scope"] = "more"
    assert hand_in(document, TOKEN)
    own["token_url"] = "https://thief.example/token"
    assert refused(document, TOKEN) == ["services.one.client_credentials.client_secret"]
    own["token_url"] = "https://id.test/token"
    # What it buys would go there.
    document["services"]["one"]["instances"] = ["http://thief.example"]
    assert "services.one.client_credentials.client_secret" in refused(document, TOKEN)


ASKING = """
listeners: ["127.0.0.1:0"]
auth:
  introspection: {endpoint: "https://id.test/introspect", client_id: gateway, client_secret: "${A}"}
services: {one: {instances: ["http://127.0.0.1:9001"]}}
routes: [{prefix: /, service: one}]
"""


def test_the_secret_for_an_issuer_goes_to_no_other() -> None:
    document, _ = written(ASKING)
    own = document["auth"]["introspection"]
    own["cache"] = "5s"
    hand_in(document, ASKING)
    own["endpoint"] = "https://thief.example/introspect"
    assert refused(document, ASKING) == ["auth.introspection.client_secret"]
    own["endpoint"] = "https://id.test/introspect"
    own["ca"] = "thief.pem"
    assert refused(document, ASKING) == ["auth.introspection.ca"]


def test_whoever_is_believed_to_be_an_instance_is_a_destination() -> None:
    text = INSIDE.replace("http://127.0.0.1:1", "https://127.0.0.1:1")
    document, _ = written(text)
    document["services"]["one"]["tls"] = {"min_version": "1.3"}
    assert hand_in(document, text)
    document["services"]["one"]["tls"] = {"verify": False}
    assert "services.one.health_check.path" in refused(document, text)


def test_what_stays_in_the_gateway_is_sent_nowhere() -> None:
    document, _ = written()
    document["services"]["three"] = {"instances": ["http://127.0.0.1:4"]}
    document["routes"].append({"name": "more", "path": "/m", "service": "three", "auth_required": False})
    document["listeners"].append("127.0.0.1:2")
    assert hand_in(document)


def test_a_host_that_is_sent_on_is_a_destination() -> None:
    text = INSIDE.replace("rewrite:", "host: api.example\n    rewrite:")
    document, _ = written(text)
    document["routes"][3]["host"] = ["api.example", "thief.example"]
    assert refused(document, text) == ["routes[3].rewrite", "routes[3].headers.X-Shared"]
    del document["routes"][3]["host"]
    assert refused(document, text) == ["routes[3].rewrite", "routes[3].headers.X-Shared"]
    document["hosts"] = ["api.example"]
    assert hand_in(document, text)
    own = text.replace("http://127.0.0.1:1", "https://127.0.0.1:1")
    document, _ = written(own)
    del document["routes"][3]["host"]
    assert hand_in(document, own)
    document, _ = written()
    document["routes"][3]["host"] = "api.example"
    assert hand_in(document)


def test_what_code_added_is_where_it_may_be_sent_too() -> None:
    before, config = written()
    service = Service(instances=("http://127.0.0.1:9",))

    def over(config: Config) -> Config:
        return config.model_copy(update={"services": {**config.services, "added": service}})

    standing = Standing(config, over).with_also(config, before)
    before["routes"][3]["service"] = "added"
    config = config.model_copy(
        update={"routes": (*config.routes[:3], config.routes[3].model_copy(update={"service": "added"}))}
    )
    void = [refusal.path for refusal in standing.void(takings(before), config)]
    assert void == [("routes", 3, "rewrite"), ("routes", 3, "headers", "X-Shared")]


def test_fewer_destinations_are_no_change() -> None:
    text = INSIDE.replace('["http://127.0.0.1:1"]', '["http://127.0.0.1:1", "http://127.0.0.1:7"]')
    document, _ = written(text)
    document["services"]["one"]["instances"].pop()
    document["hooks"] = []
    assert hand_in(document, text)


@pytest.mark.parametrize("text", ["${A} ", "x${A}", "${A:-x}", "${A}${B}", "${C}", "${file:/etc/hostname}"])
def test_other_words_are_another_reference(text: str) -> None:
    document, _ = written()
    document["routes"][2]["transform"]["request"]["set"]["X-Key"] = text
    assert refused(document) == ["routes[2].transform.request.set.X-Key"]


CONSUL = """
listeners: [{address: "127.0.0.1:1"}]
services:
  one:
    discovery:
      consul: {service: one, address: "https://127.0.0.1:2", token: "${A}", ca: ca.pem, cert: c.pem, key: k.pem}
"""


@pytest.mark.parametrize(
    ("change", "places"),
    [
        ({"retry": "2s"}, []),
        ({"address": "https://127.0.0.1:3"}, ["token", "cert", "key"]),
        ({"service": "other"}, ["token", "cert", "key"]),
        ({"token": "${B}"}, ["token"]),
        ({"ca": "/etc/shadow"}, ["ca"]),
        ({"cert": None, "key": None}, ["token"]),
    ],
)
def test_what_a_source_is_sent_counts_only_for_whom_it_is_asked_from(change: dict[str, Any], places: list[str]) -> None:
    document, _ = written(CONSUL)
    consul = document["services"]["one"]["discovery"]["consul"]
    consul |= change
    expected = [f"services.one.discovery.consul.{place}" for place in places]
    assert (refused(document, CONSUL) if expected else hand_in(document, CONSUL) and []) == expected


STORE = """
listeners: [{address: "127.0.0.1:1"}]
store: {url: "etcd+tls://127.0.0.1:2", user: me, password: "${A}", tls: {ca: ca.pem}}
cluster: {name: shop, store: "valkey://127.0.0.1:3", password: "${B}"}
"""


@pytest.mark.parametrize(
    ("change", "places"),
    [
        ({}, []),
        ({"timeout": "2s"}, ["store"]),
        ({"history": 7}, ["store"]),
        ({"url": "etcd+tls://127.0.0.1:4"}, ["store"]),
        ({"tls": {"ca": "ca.pem", "verify": True, "server_name": "other"}}, ["store"]),
        ({"tls": {"ca": "other.pem"}}, ["store", "store.tls.ca"]),
        ({"password": "${B}"}, ["store.password"]),
        ({"user": "${A}"}, ["store.user"]),
    ],
)
def test_the_store_belongs_to_the_node(change: dict[str, Any], places: list[str]) -> None:
    document, _ = written(STORE)
    document["store"] |= change
    assert (sorted(refused(document, STORE)) if places else hand_in(document, STORE) and []) == places
    del document["store"]
    assert hand_in(document, STORE)


TELEMETRY = """
listeners: [{address: "127.0.0.1:1"}]
telemetry:
  service_name: "${B}"
  traces: {endpoint: "https://127.0.0.1:2", headers: {authorization: "${A}"}, ca: ca.pem}
  logs: {endpoint: "https://127.0.0.1:3"}
"""


@pytest.mark.parametrize(
    ("signal", "change", "places"),
    [
        ("traces", {"ratio": 0.5, "timeout": "1s", "keep": True}, []),
        ("traces", {"endpoint": "https://127.0.0.1:4"}, ["service_name", "traces.headers.authorization"]),
        ("traces", {"ca": "/etc/shadow"}, ["traces.ca"]),
        ("traces", {"headers": {"other": "${A}"}}, ["traces.headers.other"]),
        ("logs", {"headers": {"authorization": "${A}"}}, ["logs.headers.authorization"]),
        ("logs", {"endpoint": "https://127.0.0.1:5"}, ["service_name"]),
        ("metrics", {"endpoint": "https://127.0.0.1:6"}, ["service_name"]),
    ],
)
def test_what_a_collector_gets_goes_to_no_other(signal: str, change: dict[str, Any], places: list[str]) -> None:
    document, _ = written(TELEMETRY)
    document["telemetry"].setdefault(signal, {}).update(change)
    expected = [f"telemetry.{place}" for place in places]
    assert (sorted(refused(document, TELEMETRY)) if expected else hand_in(document, TELEMETRY) and []) == expected


def test_what_only_looks_like_a_reference_is_a_text() -> None:
    document, _ = written()
    document["routes"][1]["static_response"] = "$${A} $A"
    config = hand_in(document)
    assert config.routes[1].static_response
    assert config.routes[1].static_response.body == "${A} $A"


def test_lists_of_the_node() -> None:
    text = f"{INSIDE}admin: {{references: [A, 'file:x'], code: ['debug:other']}}\n"
    document, _ = written(text)
    document["routes"][1]["static_response"] = "key=${A} or ${A:-none}"
    document["hooks"].append({"on_response": "debug:other"})
    document["admin"]["references"].reverse()
    assert hand_in(document, text)
    document["routes"][1]["static_response"] = "${B}"
    assert refused(document, text) == ["routes[1].static_response"]
    document["routes"][1]["static_response"] = "${file:y}"
    assert refused(document, text) == ["routes[1].static_response"]


def test_every_row_is_about_a_setting_that_exists() -> None:
    for row in (*SEEN_BY, *FILES):
        if row in {("services", "*", ""), ("services", "*", "*")}:
            # A service in short.
            continue
        path = tuple(0 if step == "*" else step for step in row)
        if path[0] == "services":
            path = ("services", "x", *path[2:])
        assert kinds(path, Config), row


def pem_files(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        for kind, way in inside(field.annotation, field.metadata, (*path, name)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from pem_files(kind, way)
            elif kind is PemFile:
                yield way


def inside(kind: Any, metadata: Any, path: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    files = (PemFile, PageFile)
    if kind in files or (kind is str and any(set(get_args(file)[1:]) <= set(metadata) for file in files)):
        yield PemFile, path
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind, path
    else:
        for part in get_args(kind):
            yield from inside(part, (), (*path, "*") if get_origin(kind) in (dict, tuple) else path)


def test_every_setting_that_names_a_file_is_known_to_do_so() -> None:
    found = set(pem_files(Config))
    assert {("errors", "*", "*"), ("routes", "*", "errors", "*", "*"), ("services", "*", "tls", "ca")} <= found
    assert found <= set(FILES)


def test_a_setting_that_nobody_has_judged_is_seen_by_everybody() -> None:
    assert seen_by(("routes", 3, "something new")) == {"instances", "clients"}
    assert seen_by(("something new",)) == {"instances", "clients"}
    assert seen_by(("services", "policies", "something new")) == {"instances"}
