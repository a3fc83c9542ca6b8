"""`pylae test`: what is decided for requests, and how that is compared and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

import pylae.demo
from pylae import ConfigError
from pylae.cli import main
from pylae.expected.judge import Judged, judge
from pylae.expected.table import ExpectedTable, read
from pylae.gateway import Gateway

SECRET = "only-for-tests-0123456789abcdef0123"
CONFIG: dict[str, Any] = {
    "listeners": ["127.0.0.1:0"],
    "auth": {"jwt": {"secret": SECRET, "issuer": "us"}},
    "services": {"a": {"instances": ["http://127.0.0.1:1"]}, "b": {"instances": ["http://127.0.0.1:2"]}},
    "policies": {"transform": {"response": {"set": {"X-Brand": "p"}}}},
    "routes": [
        {"name": "gold", "path": "/gold", "service": "a", "require": {"claims": {"tier": "gold"}}, "rate_limit": 2},
        {"name": "open", "prefix": "/open", "service": "b", "auth_required": False, "strip_prefix": True},
        {
            "name": "shop",
            "prefix": "/shop",
            "split": ["a", {"service": "b", "when": {"expression": "request.query.b == '1'"}}],
        },
        {"name": "old", "path": "/old", "redirect": "/new", "auth_required": False},
        {
            "name": "json",
            "path": "/json",
            "method": "POST",
            "service": "a",
            "auth_required": False,
            "validation": {"json_body": True},
        },
    ],
}


def judged(*requests: dict[str, Any], config: dict[str, Any] = CONFIG) -> list[Judged]:
    builder = Gateway(**config).builder
    return judge(ExpectedTable(requests=requests), builder, builder.plan())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "request_",
    [
        {"request": "GET /gold", "expect": 401},
        {"request": "GET /gold", "user": 7, "expect": {"status": 403, "by": "require", "route": "gold"}},
        {"request": "GET /gold", "user": {"id": 7, "claims": {"tier": "gold"}}, "expect": {"service": "a"}},
        {"request": "GET /gold", "token": {"sub": "7", "tier": "gold"}, "expect": {"sent": {"X-User-ID": 7}}},
        {"request": "GET /gold", "token": {"sub": "7", "tier": "gold", "iss": "them"}, "expect": 401},
        {"request": "GET /gold", "token": {"sub": "7", "tier": "gold", "exp": 1}, "expect": {"by": "authentication"}},
        {
            "request": "GET /gold",
            "user": {"id": 7, "claims": {"tier": "gold"}},
            "times": 3,
            "expect": {"status": 429, "by": "rate_limit", "fields": {"X-Brand": "p"}},
        },
        {"request": "GET /open/x?y=1", "expect": {"path": "/x", "sent": {"X-User-ID": None}, "fields": {"X": None}}},
        # Nobody asks who it is on this route.
        {"request": "GET /open/x", "user": 7, "expect": {"service": "b", "sent": {"X-User-ID": None}}},
        {"request": "GET /shop?b=1", "user": 7, "expect": {"service": "b"}},
        {"request": "GET /shop?b=1&b=1", "user": 7, "expect": {"service": "a"}},
        {"request": "GET /old", "expect": {"status": 308, "by": "redirect", "fields": {"Location": "/new"}}},
        {"request": "POST /gold?x", "body": "{", "expect": {"status": 401}},
        {
            "request": "POST /json",
            "headers": {"Content-Type": "application/json"},
            "body": '{"a": 1}',
            "expect": {"service": "a"},
        },
        {
            "request": "POST /json",
            "headers": {"Content-Type": "application/json"},
            "body": '{"a": ',
            "expect": {"status": 400, "by": "validation"},
        },
        {"request": "GET /nowhere", "expect": {"status": 404, "fields": {"X-Brand": "p"}}},
        {"request": "DELETE /json", "expect": {"status": 405, "fields": {"allow": "POST"}}},
        {"request": "GET /a%00", "expect": 400},
    ],
    ids=lambda one: one["request"],
)
def test_decisions(request_: dict[str, Any]) -> None:
    (one,) = judged(request_)
    assert one.differences == ()


def test_each_request_is_decided_by_itself() -> None:
    gold = {"request": "GET /gold", "user": {"id": 7, "claims": {"tier": "gold"}}, "expect": {"service": "a"}}
    assert all(one.passed for one in judged(*[gold] * 5))


@pytest.mark.parametrize(
    ("expect", "difference"),
    [
        (200, "expected 200, but it goes to a"),
        ({"service": "b"}, "expected service b, but it goes to a"),
        ({"route": "open"}, "expected route open, found gold"),
        ({"by": "require"}, "expected policy require, found none"),
        ({"path": "/x"}, "expected path /x, found /gold"),
        ({"fields": {"X-Brand": "q"}}, "expected field X-Brand: q, found p"),
        ({"fields": {"x-brand": None}}, "expected no field x-brand, found p"),
        ({"sent": {"X-User-ID": "8"}}, "expected sent field X-User-ID: 8, found 7"),
    ],
)
def test_differences(expect: Any, difference: str) -> None:
    (one,) = judged({"request": "GET /gold", "user": {"id": 7, "claims": {"tier": "gold"}}, "expect": expect})
    assert one.differences == (difference,)


def test_refusals_are_no_forwarding() -> None:
    (one,) = judged({"request": "GET /gold", "expect": {"service": "a"}})
    assert one.differences == ("expected service a, but it is answered with 401 by authentication",)
    (bad,) = judged({"request": "GET /gold", "headers": {"a b": "c"}, "expect": 400})
    assert bad.differences[0].startswith("it is no request: ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("requests: []", "tests.yaml:1:11: requests: must have at least 1 of them"),
        ("requests:\n  - {request: GET /, expect: {}}", "tests.yaml:2:30: requests[0].expect: must expect something"),
        ("requests:\n  - {request: GET, expect: 200}", "`request` must be a method and a URL"),
        ("requests:\n  - {request: GET /, expect: 200, usr: 7}", "did you mean `user`?"),
        ("requests:\n  - {request: GET /, expect: {status: 200, service: a}}", "`status` is that of the gateway's own"),
        ("requests:\n  - {request: GET /, expect: 200, user: 7, token: {}}", "only one of them can be given"),
        ("requests:\n  - {request: GET /, expect: 200, client: here}", "must be an IP address"),
        ("requests: 1", "must be a list"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "tests.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read(file)
    assert problem in str(refused.value)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration and a file of requests, one of which is not decided as expected."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pylae.yaml").write_text(json.dumps(CONFIG))
    (tmp_path / "tests.yaml").write_text(
        "requests:\n"
        "  - {request: GET /open/x, expect: {service: b}}\n"
        "  - {request: GET /gold, name: 'gold & <more>', user: {id: 7, claims: {tier: tin}}, expect: {service: a}}\n"
    )
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_what_is_not_as_expected_is_explained() -> None:
    told = run()
    assert told.exit_code == 1
    assert "failed gold & <more>" in told.output and "GET /open" not in told.output
    assert "expected service a, but it is answered with 403 by require" in told.output
    assert "would: 403: the claim tier is not as required" in told.output
    assert "1 as expected, 1 not" in told.output
    assert "ok    GET /open/x: goes to b" in run("-v").output


def test_results_for_programs(folder: Path) -> None:
    told = run("--json", "--junit", "results.xml")
    good, bad = json.loads(told.output)
    assert (told.exit_code, good["passed"], bad["passed"]) == (1, True, False)
    assert (bad["decided"]["status"], bad["decided"]["by"], good["decided"]["service"]) == (403, "require", "b")
    suite = ElementTree.parse(folder / "results.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failure = suite[1][0]
    assert suite[1].get("name") == "gold & <more>" and "403 by require" in (failure.get("message") or "")
    assert "the claim tier is not as required" in (failure.text or "")


def test_another_configuration(folder: Path) -> None:
    opened = {**CONFIG, "routes": [{**CONFIG["routes"][0], "require": False}, *CONFIG["routes"][1:]]}
    (folder / "other.yaml").write_text(json.dumps(opened))
    assert run("tests.yaml", "-c", "other.yaml").exit_code == 0
    (folder / "tests.yaml").unlink()
    assert run().exit_code == 2


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["test", *arguments])


def test_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", "")
    file = Path(pylae.demo.__file__).with_name("tests.yaml")
    told = run(str(file))
    assert (told.exit_code, told.output.partition(" (")[0]) == (0, "30 as expected"), told.output


def test_browsers_are_sent_to_a_login_and_programs_are_not() -> None:
    oidc = {"issuer": "https://login.example.org", "client_id": "shop", "cookie_secret": SECRET}
    browser = {"request": "GET /gold", "headers": {"Accept": "text/html"}}
    found = judged(
        {**browser, "expect": 302},
        {"request": "GET /gold", "expect": 401},
        {**browser, "expect": 401},
        config={**CONFIG, "auth": {**CONFIG["auth"], "oidc": oidc}},
    )
    assert [one.passed for one in found] == [True, True, False]
