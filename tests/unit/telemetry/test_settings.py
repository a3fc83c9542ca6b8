"""What may be written under `telemetry`, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, Gateway
from pylae.settings import Keep, Telemetry, Traces


def planned(**telemetry: Any) -> Any:
    return Gateway(telemetry=telemetry).plan()["telemetry"]


@pytest.mark.parametrize(
    ("settings", "endpoint"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://collector/otlp/v1/traces", "https://collector/otlp/v1/traces"),
        ({"endpoint": "https://[::1]:4317", "protocol": "grpc"}, "https://[::1]:4317"),
        ({"endpoint": "http://collector:4317/", "protocol": "grpc"}, "http://collector:4317"),
    ],
)
def test_a_url_without_a_path_gets_the_one_of_otlp(settings: Any, endpoint: str) -> None:
    assert planned(traces=settings)["traces"]["collector"]["endpoint"] == endpoint


@pytest.mark.parametrize(
    ("settings", "path", "message"),
    [
        ({"endpoint": "127.0.0.1:4318"}, "endpoint", "is not the URL of a collector"),
        ({"endpoint": "ftp://collector"}, "endpoint", "is not the URL of a collector"),
        ({"endpoint": "http://a b"}, "endpoint", "is not the URL of a collector"),
        ({"endpoint": "http://collector:99999"}, "endpoint", "is not the URL of a collector"),
        ({"endpoint": "http://user:s3cret@collector"}, "endpoint", "must not contain a user"),
        ({"endpoint": "http://collector/?key=s3cret"}, "endpoint", "must not contain a user, a query"),
        ({"endpoint": "http://collector", "headers": {"a b": "s3cret"}}, "headers", "cannot be the name of a field"),
        ({"endpoint": "http://collector", "headers": {"Host": "s3cret"}}, "headers", "must not have the field `host`"),
        ({"endpoint": "http://collector", "headers": {"grpc-x": "s3cret"}}, "headers", "the field `grpc-x`"),
        ({"endpoint": "http://collector", "headers": {"x": "s3cret\n"}}, "headers", "has a value that the field `x`"),
        ({"endpoint": "http://collector", "headers": {"x": "s3cret", "X": "b"}}, "headers", "has a field twice"),
        (
            {"endpoint": "http://collector", "headers": {f"x{n}": "s3cret" for n in range(17)}},
            "headers",
            "more than 16",
        ),
        ({"endpoint": "http://collector", "ca": "ca.pem"}, "", "`ca` has no effect without TLS"),
        ({"endpoint": "http://collector/x", "protocol": "grpc"}, "", "`endpoint` has no path"),
        ({"endpoint": "http://collector", "ratio": 1.5}, "ratio", "must be at most 1"),
        ({"endpoint": "http://collector", "keep": {"errors": False}}, "keep", "keeps nothing"),
    ],
)
def test_what_cannot_be_sent_is_said(settings: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Traces(**settings)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert message in problem.message
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"a b": "c"}, "has a name with blanks"),
        ({"": "c"}, "has a name with blanks or control characters, none"),
        ({"a": "b" * 1025}, "has a value of more than 1024 characters: `a`"),
        ({f"a{n}": "b" for n in range(65)}, "has more than 64 attributes"),
    ],
)
def test_attributes_have_bounds(attributes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Telemetry(attributes=attributes)


def test_what_is_kept_is_off_by_default() -> None:
    assert planned(traces="http://a")["traces"]["keep"] is None
    assert planned(traces={"endpoint": "http://a", "keep": False})["traces"]["keep"] is None
    kept = planned(traces={"endpoint": "http://a", "keep": True})["traces"]["keep"]
    assert kept == {"errors": True, "slower_than": None}
    assert planned(traces={"endpoint": "http://a", "keep": Keep(slower_than="1s")})["traces"]["keep"] == {
        "errors": True,
        "slower_than": 1.0,
    }


def test_secrets_are_hidden_but_planned() -> None:
    traces = Traces(endpoint="https://collector", headers={"Authorization": "Bearer s3cret"})
    assert "s3cret" not in repr(traces)
    assert planned(traces=traces)["traces"]["collector"]["headers"] == [["authorization", "Bearer s3cret"]]


def loaded(tmp_path: Path, text: str) -> Gateway:
    file = tmp_path / "pylae.yaml"
    file.write_text(text, encoding="utf-8")
    return Gateway.from_file(file)


def test_a_route_that_does_not_exist_is_found(tmp_path: Path) -> None:
    text = (
        "telemetry:\n  traces:\n    endpoint: http://127.0.0.1:4318\n    routes:\n      order: 0.1\n"
        "routes: [{name: orders, path: /, service_url: 'http://127.0.0.1:1', auth_required: false}]\n"
    )
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text).plan()
    (problem,) = caught.value.problems
    assert (problem.message, problem.line) == ("there is no route `order`", 5)
    assert problem.hint == "did you mean `orders`?"


def test_a_file_that_cannot_be_read_is_found(tmp_path: Path) -> None:
    text = "telemetry:\n  logs:\n    endpoint: https://collector\n    ca: none.pem\n"
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text).plan()
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == ("telemetry.logs.ca", 4)
    (tmp_path / "none.pem").write_text("no certificate", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text).check()
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == ("telemetry.logs.ca", 4)


def test_lines_that_are_only_sent_need_a_collector(tmp_path: Path) -> None:
    text = "policies: {access_log: {output: otlp}}\n"
    with pytest.raises(ConfigError, match="lines would go nowhere"):
        loaded(tmp_path, text)
    plan = loaded(tmp_path, text + "telemetry: {logs: 'http://127.0.0.1:4318'}\n").plan()
    assert plan["telemetry"]["logs"]["collector"]["endpoint"] == "http://127.0.0.1:4318/v1/logs"


def test_a_collector_that_gets_no_lines_is_a_warning() -> None:
    telemetry = {"logs": "http://127.0.0.1:4318"}
    (problem,) = Gateway(telemetry=telemetry).check()
    assert (problem.path, problem.message) == ("telemetry.logs", "nothing is sent: there is no access log")
    assert not Gateway(telemetry=telemetry, policies={"access_log": {"output": "otlp"}}).check()


def test_a_collector_that_anyone_can_listen_to_is_a_warning() -> None:
    problems = Gateway(telemetry={"traces": {"endpoint": "http://collector.example", "headers": {"x": "y"}}}).check()
    (problem,) = [problem for problem in problems if problem.path.startswith("telemetry")]
    assert problem.path == "telemetry.traces.endpoint"
    assert "anyone on the network can read the credentials" in problem.message
    assert not [
        one for one in Gateway(telemetry={"traces": "http://localhost:4318"}).check() if "telemetry" in one.path
    ]
