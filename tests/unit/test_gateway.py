"""The Gateway object over an engine that only records what it is told; the native one has its own tests."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pylae
from pylae import ConfigError, EngineError, Gateway, Route, Service

TEXTBOOK = r"""
from pylae import Gateway, Route

gateway = Gateway()
gateway.add_route(Route(pattern=r"^/api/users/(\d+)$", method="GET", service_name="user-service",
                        service_url="http://user-service:8000", auth_required=True, rate_limit=100))
gateway.add_route(Route(pattern=r"^/api/orders.*$", method="GET|POST|PUT|DELETE", service_name="order-service",
                        service_url="http://order-service:8000", rate_limit=50, timeout=30, retry_count=3, circuit_breaker=True))
gateway.run()
"""  # noqa: E501 (it must run as people have it)
YAML = """services: {users: {instances: ["http://127.0.0.1:9001"]}}
routes:
  - {path: /a, service: users, auth_required: false}
"""


class Recorder:
    """Stands in for the engine and its check."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.problems: list[dict[str, str]] = []
        self.doubts: list[dict[str, str]] = []
        self.refuse: str | None = None
        self.refusals = 0
        self.hooks: list[Any] = []
        self.started, self.applied, self.draining, self.released = (threading.Event() for _ in range(4))

    def add_metrics(self, _page: Callable[[], str]) -> None:
        pass

    def check(self, plan: str) -> dict[str, list[dict[str, str]]]:
        json.loads(plan)
        return {"problems": self.problems, "warnings": self.doubts}

    def warnings(self) -> list[dict[str, str]]:
        return self.doubts

    def engine(self, plan: str, _hooks: object = (), _hosts: object = None) -> Recorder:
        self.calls.append(("plan", json.loads(plan)))
        return self

    def start(self, bound: Callable[[], object], _joined: object, _maintenance: object) -> list[str]:
        bound()
        self.started.set()
        return ["127.0.0.1:1"]

    def attach(self, _signals: object) -> None:
        """Signals are for the real one."""

    def apply(self, plan: str, _hooks: object = (), _hosts: object = None) -> None:
        if self.refuse:
            raise EngineError(self.refuse)
        if self.problems:
            self.count_refusal()
            raise EngineError("; ".join(problem["message"] for problem in self.problems))
        self.calls.append(("apply", json.loads(plan)))
        self.applied.set()

    def stop(self, drain: bool) -> None:
        self.calls.append(("stop", drain))
        if drain:
            self.draining.set()
            assert self.released.wait(10)
        else:
            self.released.set()

    def stats(self) -> dict[str, Any]:
        return {"requests": 1, "services": []}

    def summary(self) -> dict[str, Any]:
        return {"requests": 0, "services": {}}

    def count_refusal(self) -> None:
        self.refusals += 1


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    found = Recorder()
    found.released.set()
    monkeypatch.setattr("pylae.runtime.runtime.Engine", found.engine)
    monkeypatch.setattr("pylae.engine.check", found.check)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pylae.yaml"
    path.write_text(YAML)
    return path


def route(**settings: Any) -> Route:
    return Route(**{"path": "/", "service_url": "http://x", "auth_required": False, **settings})


def test_public_names() -> None:
    assert all(hasattr(pylae, name) for name in pylae.__all__)
    assert sorted(pylae.__all__) == pylae.__all__


def test_the_textbook_program(tmp_path: Path) -> None:
    program = tmp_path / "gateway.py"
    program.write_text(TEXTBOOK)
    plan = Gateway.from_file(program).plan()
    users, orders = plan["routes"]
    assert users["match"]["path"] == {"kind": "pattern", "value": r"^/api/users/(\d+)$"}
    assert users["policies"]["rate_limit"]["limits"][0]["limit"] == 100
    assert (orders["timeout"], orders["retries"]) == (30.0, 3)
    assert orders["match"]["methods"] == ["GET", "POST", "PUT", "DELETE"]
    assert [service["instances"][0]["url"] for service in plan["services"]] == [
        "http://user-service:8000",
        "http://order-service:8000",
    ]
    assert [service["circuit_breaker"] is not None for service in plan["services"]] == [True, True]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of its own, and no secret in the environment."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("PYLAE_JWT_SECRET", "JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "state" / "pylae" / "jwt-secret"


def secret_of(plan: dict[str, Any]) -> str:
    (jwt,) = plan["auth"]["authenticators"]
    (secret,) = jwt["keys"]["value"]
    return str(secret)


def test_a_program_without_authenticator_is_closed(
    recorder: Recorder, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = Gateway(listeners=["127.0.0.1:0"])
    gateway.add_route(route(name="closed", auth_required=True))
    gateway.check()
    assert not state.exists(), "looking at a configuration writes nothing"
    caplog.set_level(logging.INFO)
    gateway.start()
    kept = state.read_text().strip()
    assert (secret_of(recorder.calls[-1][1]), state.stat().st_mode & 0o777) == (kept, 0o600)
    assert recorder.calls[-1][1]["routes"][0]["policies"]["authentication"] == {
        "authenticators": ["jwt"],
        "required": True,
    }
    assert str(state) in caplog.text
    assert "pylae token" in caplog.text
    assert kept not in caplog.text
    gateway.apply()
    assert secret_of(recorder.calls[-1][1]) == kept
    gateway.stop()


@pytest.mark.parametrize("name", ["PYLAE_JWT_SECRET", "JWT_SECRET"])
def test_the_environment_may_hold_the_secret(
    recorder: Recorder, state: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "from the environment, and long enough for HS256")
    gateway = Gateway(listeners=["127.0.0.1:0"])
    gateway.add_route(route(auth_required=True))
    gateway.start()
    assert secret_of(recorder.calls[-1][1]) == "from the environment, and long enough for HS256"
    assert not state.exists()
    gateway.stop()


def test_an_open_program_has_no_secret(recorder: Recorder, state: Path) -> None:
    gateway = Gateway(listeners=["127.0.0.1:0"])
    gateway.add_route(route())
    gateway.start()
    assert recorder.calls[-1][1]["auth"] is None
    assert not state.exists()
    gateway.stop()


@pytest.mark.usefixtures("recorder")
def test_a_secret_that_others_can_read_is_refused(state: Path) -> None:
    state.parent.mkdir(parents=True)
    state.write_text("known to everyone\n")
    state.chmod(0o644)
    gateway = Gateway(listeners=["127.0.0.1:0"])
    gateway.add_route(route(auth_required=True))
    with pytest.raises(ConfigError, match="other users can read or change"):
        gateway.start()


def test_weak_secrets_are_warned_about(recorder: Recorder) -> None:
    gateway = Gateway(auth={"jwt": {"secret": ["x" * 32, "weak"]}})
    (warning,) = gateway.check()
    assert (warning.path, "weak" in warning.message) == ("auth.jwt[0].secret", False)
    assert warning.message.startswith("the secret has 4 bytes")
    assert recorder.calls == []


def test_wrong_keywords() -> None:
    with pytest.raises(ConfigError) as caught:
        Gateway(worker=3, limits={"max_body": "x"})
    assert {(problem.file, problem.path) for problem in caught.value.problems} == {
        (__file__, "worker"),
        (__file__, "limits.max_body"),
    }


def test_cross_checks_name_the_line_of_the_call() -> None:
    gateway = Gateway()
    gateway.add_route(route(name="a"))
    line = sys._getframe().f_lineno + 1
    gateway.add_route(Route(name="a", path="/b", service="nobody", auth_required=False))
    with pytest.raises(ConfigError) as caught:
        gateway.plan()
    assert {(problem.file, problem.line) for problem in caught.value.problems} == {(__file__, line)}
    assert [problem.path for problem in caught.value.problems] == ["routes[1].name", "routes[1].service"]


def test_services() -> None:
    gateway = Gateway()
    gateway.add_service("users", Service(instances=["http://127.0.0.1:1", "http://127.0.0.1:2"]))
    gateway.add_route(Route(path="/", service="users", auth_required=False))
    assert [instance["url"] for instance in gateway.plan()["services"][0]["instances"]] == [
        "http://127.0.0.1:1",
        "http://127.0.0.1:2",
    ]
    with pytest.raises(ConfigError, match="there already"):
        gateway.add_service("users", Service(instances=["http://a"]))
    with pytest.raises(ConfigError, match="must be letters"):
        gateway.add_service("no name", Service(instances=["http://a"]))


def test_native_problems_get_their_places(recorder: Recorder, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "/{s3cret")
    file.write_text(YAML.replace("/a", "'${SECRET}'"))
    recorder.problems = [
        {"path": "routes[0].match.path", "message": "bad template /{s3cret"},
        {"path": "services[0].instances[0].url", "message": "bad"},
        {"path": "routes[0].policies.rate_limit", "message": "bad"},
    ]
    with pytest.raises(ConfigError) as caught:
        Gateway.from_file(file).check()
    assert [str(problem).removeprefix(f"{file}:") for problem in caught.value.problems] == [
        "3:12: routes[0].path: bad template (not shown)",
        "1:32: services.users.instances[0]: bad",
        "3:5: routes[0]: bad",
    ]


def test_warnings(recorder: Recorder, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder.doubts = [{"path": "routes[0]", "message": "can never match"}]
    gateway = Gateway.from_file(file)
    assert [str(problem) for problem in gateway.check()] == [f"{file}:3:5: routes[0]: can never match"]
    gateway.start()
    assert "can never match" in caplog.text


def test_apply_is_all_or_nothing(recorder: Recorder, file: Path) -> None:
    gateway = Gateway.from_file(file)
    with pytest.raises(EngineError, match="not running"):
        gateway.apply()
    gateway.start()
    with pytest.raises(EngineError, match="running already"):
        gateway.start()
    other = Gateway()
    other.add_route(route(name="other"))
    recorder.refuse = "port in use"
    with pytest.raises(EngineError, match="port in use"):
        gateway.apply(other)
    assert gateway.config.routes[0].path == "/a"
    recorder.refuse = None
    recorder.problems = [{"path": "routes[0]", "message": "bad"}]
    with pytest.raises(ConfigError):
        gateway.apply(other)
    # The engine counts itself what it was given, and it is not counted twice.
    assert recorder.refusals == 1
    recorder.problems = []
    gateway.apply(other)
    assert gateway.config.routes[0].name == "other"
    assert gateway.builder.locate(gateway.plan(), "routes[0]").file == __file__
    assert recorder.calls[-1][0] == "apply"
    assert gateway.stats() == recorder.stats()
    gateway.reload()
    assert gateway.config.routes[0].path == "/a"


def test_own_changes_are_applied(recorder: Recorder, file: Path) -> None:
    gateway = Gateway.from_file(file)
    gateway.start()
    gateway.add_route(route(path="/b"))
    gateway.apply()
    assert [item["match"]["path"]["value"] for item in recorder.calls[-1][1]["routes"]] == ["/a", "/b"]
    assert gateway.builder.locate(gateway.plan(), "routes[0]").file == str(file)
    assert gateway.builder.locate(gateway.plan(), "routes[1]").file == __file__


@pytest.mark.usefixtures("recorder")
def test_without_a_file_there_is_nothing_to_reload() -> None:
    gateway = Gateway()
    gateway.start()
    with pytest.raises(EngineError, match="not read from a file"):
        gateway.reload()


Script = Callable[[], None]


@pytest.fixture
def beside() -> Iterator[Callable[[Script], None]]:
    """Runs a script beside `gateway.run()`, which needs the main thread, and passes on what it raised."""
    failures: list[BaseException] = []
    threads: list[threading.Thread] = []

    def guarded(script: Script) -> None:
        try:
            script()
        except BaseException as error:
            failures.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    def begin(script: Script) -> None:
        threads.append(threading.Thread(target=guarded, args=(script,)))
        threads[-1].start()

    yield begin
    for thread in threads:
        thread.join(10)
    assert not failures


def test_signals_stop_and_reload(recorder: Recorder, file: Path, beside: Callable[[Script], None]) -> None:
    gateway = Gateway.from_file(file)
    before = signal.getsignal(signal.SIGTERM)

    def script() -> None:
        assert recorder.started.wait(10)
        os.kill(os.getpid(), signal.SIGHUP)
        assert recorder.applied.wait(10)
        os.kill(os.getpid(), signal.SIGTERM)

    beside(script)
    gateway.run()
    assert [name for name, _ in recorder.calls] == ["plan", "apply", "stop"]
    assert recorder.calls[-1] == ("stop", True)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_ends_it(recorder: Recorder, file: Path, beside: Callable[[Script], None]) -> None:
    recorder.released.clear()

    def script() -> None:
        assert recorder.started.wait(10)
        os.kill(os.getpid(), signal.SIGINT)
        assert recorder.draining.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    beside(script)
    Gateway.from_file(file).run()
    assert [call for call in recorder.calls if call[0] == "stop"] == [("stop", True), ("stop", False)]


def test_a_changed_file_is_applied_and_a_bad_one_is_not(
    recorder: Recorder, file: Path, beside: Callable[[Script], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pylae.runtime.serve.LOOK", 0.01)
    refused = threading.Event()
    said: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno == logging.ERROR:
                said.append(record.getMessage())
                refused.set()

    def script() -> None:
        assert recorder.started.wait(10)
        file.write_text(YAML.replace("path: /a", "path: '${file:path}'"))
        assert refused.wait(10)
        assert not recorder.applied.is_set()
        # The configuration itself stays as it is: only the file that it lacked appears.
        other = tmp_path / "other"
        other.write_text("/b\n")
        other.rename(tmp_path / "path")
        assert recorder.applied.wait(10)
        gateway.stop()

    handler = Handler()
    logging.getLogger("pylae").addHandler(handler)
    gateway = Gateway.from_file(file)
    beside(script)
    gateway.run()
    logging.getLogger("pylae").removeHandler(handler)
    assert "3:13: routes[0].path: the file path cannot be read" in said[0]
    assert recorder.refusals == 1
    assert [call[1]["routes"][0]["match"]["path"]["value"] for call in recorder.calls if call[0] != "stop"] == [
        "/a",
        "/b",
    ]


def _breakers(gateway: Gateway) -> dict[str, Any]:
    """What the plan says of the breaker of each service: None, or the failures that open it."""
    found = {one["name"]: one["circuit_breaker"] for one in gateway.plan()["services"]}
    return {name: breaker and breaker["failure_threshold"] for name, breaker in found.items()}


A: Any = {"path": "/a", "service": "a", "service_url": "http://a:80", "auth_required": False}


def test_services_that_a_program_declares_have_a_breaker() -> None:
    gateway = Gateway(routes=[Route(**A), {**A, "path": "/b", "service": "b"}])
    gateway.add_route(Route(**{**A, "path": "/c", "service": "c"}))
    gateway.add_route(**{**A, "path": "/d", "service": "d"})
    gateway.add_route(Route(**{**A, "path": "/e", "service": "e", "circuit_breaker": False}))
    gateway.add_route(Route(**{**A, "path": "/f", "service": "f", "circuit_breaker": {"failure_threshold": 2}}))
    assert _breakers(gateway) == {"a": 5, "b": 5, "c": 5, "d": 5, "e": None, "f": 2}
    assert gateway.check() == []


def test_what_any_route_says_of_the_breaker_holds_for_the_service() -> None:
    gateway = Gateway(services={"s": {"instances": ["http://s:80"]}})
    gateway.add_route(Route(**A))
    gateway.add_route(Route(**{**A, "path": "/2", "circuit_breaker": {"failure_threshold": 2}}))
    gateway.add_route(Route(**{**A, "path": "/o", "service": "off"}))
    gateway.add_route(Route(**{**A, "path": "/o2", "service": "off", "circuit_breaker": False}))
    gateway.add_route(Route(path="/s", service="s", auth_required=False))
    assert _breakers(gateway) == {"a": 2, "off": None, "s": None}


def test_services_of_files_have_none_and_added_ones_have_one_after_a_reload(tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(
        "listeners: ['127.0.0.1:0']\n"
        "routes: [{path: /a, service: a, service_url: 'http://a:80', auth_required: false}]\n"
    )
    gateway = Gateway.from_file(file)
    gateway.add_route(Route(**{**A, "path": "/more"}))
    gateway.add_route(Route(**{**A, "path": "/b", "service": "b"}))
    assert _breakers(gateway) == {"a": None, "b": 5}
    gateway.start()
    try:
        gateway.reload()
        found = {one["name"]: one["breaker"] is not None for one in gateway.stats()["services"]}
    finally:
        gateway.stop(drain=False)
    assert found == {"a": False, "b": True}
