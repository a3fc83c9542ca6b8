"""Routes that an earlier plan has are neither validated nor compiled again."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylae import Gateway
from pylae.config import routes
from pylae.config.builder import ConfigBuilder
from pylae.config.models.route import Route
from pylae.config.models.tls import Texts
from pylae.config.pages import Pages
from pylae.config.plan import json_of, plain
from pylae.config.routes import Call, Common, CompiledRoutes
from pylae.policies import PolicySet

HEAD = """\
listeners: [127.0.0.1:0]
services:
  a: {instances: [http://127.0.0.1:1]}
  b: {instances: [http://127.0.0.1:2], max_in_flight: 3}
"""
MANY = 300


KEY = "ab" * 32


def text(head: str = HEAD, changed: str = "", count: int = MANY) -> str:
    routes = [f"  - name: route-{index}\n    path: /{index}\n    service: a\n    auth_required: false\n"
              for index in range(count)]  # fmt: skip
    routes[count // 2] += changed
    return f"{head.replace('KEY', KEY)}routes:\n{''.join(routes)}"


def read(path: Path) -> ConfigBuilder:
    return Gateway.from_file(path).builder


def compiled(builder: ConfigBuilder) -> int:
    """How many routes are compiled for its plan, which is as if it was the first one."""
    plan = builder.plan()
    assert builder.origin is not None
    assert plain(plan) == plain(read(builder.origin).plan())
    assert json.loads(json_of(plan)) == plain(plan) == {**plan, "routes": list(plan["routes"])}
    return builder.compiled.anew


@pytest.fixture
def builder(tmp_path: Path) -> ConfigBuilder:
    path = tmp_path / "pylae.yaml"
    path.write_text(text())
    builder = read(path)
    assert compiled(builder) == MANY
    return builder


def changed(builder: ConfigBuilder, content: str) -> ConfigBuilder:
    builder.origin.write_text(content)
    return builder.read_again(read)


def test_of_many_routes_only_the_changed_one_is_planned(builder: ConfigBuilder) -> None:
    other = changed(builder, text(changed="    retries: 7\n"))
    assert compiled(other) == 1
    pairs = zip(builder.config.routes, other.config.routes, strict=True)
    assert [index for index, (one, two) in enumerate(pairs) if one is not two] == [MANY // 2]
    assert other.config.routes[MANY // 2].retries == 7
    again = changed(other, text())
    assert compiled(again) == 1
    assert plain(again.plan()) == plain(builder.plan())


def test_routes_that_come_and_go_leave_the_others(builder: ConfigBuilder) -> None:
    more = changed(builder, text(changed="  - {path: /more, service: b, auth_required: false}\n"))
    assert compiled(more) == 1
    assert compiled(changed(more, text(count=MANY - 1))) == 0


@pytest.mark.parametrize(
    "head",
    [
        HEAD + "policies: {rate_limit: 5/s}\n",
        HEAD + "auth: {api_key: {consumers: {c: {keys: [KEY]}}}}\n",
    ],
)
def test_what_concerns_all_routes_compiles_all(builder: ConfigBuilder, head: str) -> None:
    other = changed(builder, text(head))
    assert compiled(other) == MANY
    assert other.config.routes[0] is builder.config.routes[0], "it is as it was in the file"


def test_services_are_those_that_they_were_if_nothing_in_them_has_changed(builder: ConfigBuilder) -> None:
    other = changed(builder, text(HEAD.replace("max_in_flight: 3", "max_in_flight: 4")))
    assert compiled(other) == 0
    assert other.config.services["a"] is builder.config.services["a"]
    assert other.config.services["b"].max_in_flight != builder.config.services["b"].max_in_flight


def test_one_is_not_true(builder: ConfigBuilder) -> None:
    one = changed(builder, text(HEAD.replace("flight: 3", "flight: 1")))
    with pytest.raises(Exception, match="max_in_flight"):
        changed(one, text(HEAD.replace("flight: 3", "flight: true")))


def test_a_mistake_in_an_unchanged_route_has_its_line(builder: ConfigBuilder) -> None:
    path = builder.origin
    # The service of all of them has gone, and they have moved.
    path.write_text(text(f"\n\n{HEAD.replace('  a: ', '  c: ')}"))
    with pytest.raises(Exception) as again:
        builder.read_again(read)
    with pytest.raises(Exception) as anew:
        read(path)
    assert str(again.value) == str(anew.value)
    assert f"{path}:10:14: routes[0].service: there is no service" in str(again.value)


def test_nothing_of_what_was_read_before_stays(builder: ConfigBuilder) -> None:
    gone = []
    other = builder
    for retries in range(4):
        gone += [weakref.ref(other.document), weakref.ref(other.compiled)]
        other = changed(other, text(changed=f"    retries: {retries}\n"))
        assert compiled(other) == 1
        builder.take(other)
    # Without the collector: it would keep them for a while.
    assert [one() for one in gone] == [None] * len(gone)
    anew = read(other.origin).document
    assert other.document is not None and anew is not None
    assert other.document.root.end == anew.root.end, "of the places, too"


def test_error_pages_are_read_again(tmp_path: Path) -> None:
    path, page = tmp_path / "pylae.yaml", tmp_path / "page.html"
    page.write_text("<p>one</p>")
    path.write_text(text(changed="    errors: {404: {html: page.html}}\n"))
    builder = read(path)
    assert compiled(builder) == MANY
    page.write_text("<p>two</p>")
    other = builder.read_again(read)
    assert compiled(other) == 1
    assert "two" in str(other.plan()["routes"][MANY // 2]["errors"])


def test_routes_that_say_the_same_in_one_word_share_it(tmp_path: Path) -> None:
    path = tmp_path / "pylae.yaml"
    more = "".join(f"  - {{path: /{rate}, service: a, auth_required: false, rate_limit: {rate}/minute}}\n"
                   for rate in (7, 8))  # fmt: skip
    path.write_text(text(changed=f"    rate_limit: 7/minute\n{more}"))
    one, other, last = read(path).config.routes[MANY // 2 : MANY // 2 + 3]
    assert one.rate_limit is other.rate_limit != last.rate_limit
    path.write_text(text(changed="    rate_limit: 7/minuet\n"))
    for _ in range(2):
        with pytest.raises(Exception, match="not a rate"):
            read(path)


KEYS = st.fixed_dictionaries(
    {"service": st.sampled_from(["a", "b"])},
    optional={
        "name": st.sampled_from(['"', "ä", "x"]),
        "method": st.sampled_from([["GET"], ["POST"], "GET|POST", []]),
        "host": st.sampled_from(["a.test", []]),
        "headers": st.sampled_from([{}, {"x": "1"}, {"x": "2"}]),
        "query": st.sampled_from([{}, {"x": "1"}]),
        "priority": st.sampled_from([0, 1]),
        "retries": st.sampled_from([0, 1]),
        "preserve_host": st.sampled_from([None, True, False]),
        "timeout": st.sampled_from(["1s", "1000ms", "2s"]),
        "deadline": st.sampled_from([None, "1s"]),
        "strip_prefix": st.sampled_from([False, True, "/a"]),
        "websocket": st.sampled_from([True, False, {"idle_timeout": "1s"}]),
        "rate_limit": st.sampled_from([None, False, "1/s", "2/s", {"limit": 1, "per": "1s", "key": "ip"}]),
        "cors": st.sampled_from([False, {"origins": ["https://a.test"]}, {"origins": ["https://b.test"]}]),
        "permissions": st.sampled_from([[], ["p"], ["p", "q"]]),
        "roles": st.sampled_from([[], ["p"]]),
        "errors": st.sampled_from([{}, {"502": {"json": "{}"}}]),
    },
)


@given(st.lists(st.tuples(st.sampled_from(["path", "prefix"]), st.sampled_from(["/a", '/"', "/ä"]), KEYS), max_size=12))
def test_routes_of_one_form_are_compiled_as_each_alone(written: list[tuple[str, str, dict[str, Any]]]) -> None:
    routes = []
    for kind, path, keys in written:
        keys = keys if kind == "prefix" or keys.get("strip_prefix") is not True else {**keys, "strip_prefix": False}
        routes.append(Route.model_validate({kind: path, **keys}))
    called = [
        Call(routes, False, {"hook": index})
        for index, routes in enumerate([None, ("route-1",), ("route-2", "route-3")])
    ]
    policies = PolicySet.model_validate({"rate_limit": "3/s", "cors": {"origins": ["https://c.test"]}})
    common = Common(policies, ("jwt",), conceals=True, admin_role="admin", calls=tuple(called))
    names = [f"route-{index}" for index in range(len(routes))]
    compiled = CompiledRoutes()
    compiled.compile(routes, names, common, Pages(Texts()))
    assert compiled._texts == [json.dumps(compiled._compiled(index)) for index in range(len(routes))]


def test_forms_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    forms: list[object] = []
    made = routes._form
    monkeypatch.setattr(routes, "_form", lambda route: forms.append(route) or made(route))
    listed = [Route(path=f"/{index}", service="a", permissions=(f"p{index}",)) for index in range(300)]
    compiled = CompiledRoutes()
    common = Common(PolicySet(), (), conceals=False, admin_role="")
    compiled.compile(listed, [f"route-{index}" for index in range(300)], common, Pages(Texts()))
    assert len(forms) == 256
    assert [route["policies"]["authorization"]["permissions"] for route in compiled] == [[f"p{i}"] for i in range(300)]
