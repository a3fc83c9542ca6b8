"""What a program added in code, beside what its file says: it stays, in whatever way the file is read again."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from pylae import ConfigError, Gateway, Response, Route, Service
from pylae.cli import main
from pylae.testing import FakeService, RunningGateway
from support.exchanges import ask
from support.hooked import running
from support.instance import EchoInstance
from support.running import Process, configure

PROGRAM = """\
import logging

from pylae import Gateway, Request, Response, Route, Service

logging.basicConfig(level=logging.INFO, format="%(message)s")
gateway = Gateway.from_file("pylae.yaml")


@gateway.on_request
def check_key(request: Request) -> Response | None:
    return None if request.headers.get("X-Key") == "right" else Response.json({}, status=401)


@gateway.on_response(routes="added")
def sign(request: Request, response: Response) -> None:
    response.headers["X-Signed"] = "1"


async def around(request, call_next):
    response = await call_next(request)
    response.headers["X-Around"] = response.headers.get("X-Around", "") + "once"
    return response


gateway.add_middleware(around)
gateway.add_service("more", Service(instances=["URL"]))
gateway.add_route(Route(name="added", path="/added", service="more", auth_required=False))
"""
RUN = "gateway.run()\n"


class Program:
    """A program that adds to what `pylae.yaml` says, as a process, and a client of its admin API."""

    def __init__(self, folder: Path, instance: EchoInstance, *command: str, program: str = PROGRAM + RUN) -> None:
        self.folder, self._instance, self._changes = folder, instance, 0
        (folder / command[-1]).write_text(program.replace("URL", instance.url))
        self.process = Process(self.config(), folder, *command)
        address = self.process.read_until("admin API on").split()[-1]
        token = (folder / "state" / "admin-token").read_text().strip()
        self.admin = httpx.Client(
            base_url=f"http://{address}", headers={"Authorization": f"Bearer {token}"}, timeout=30, verify=False
        )

    def config(self, **settings: Any) -> dict[str, Any]:
        """What the file says."""
        return configure({"admin": "127.0.0.1:0", "state": str(self.folder / "state"), **settings}, all=self._instance)

    def change_file(self) -> None:
        """Writes the file anew, and waits until that was noticed."""
        self._changes += 1
        self.process.write(self.config(limits={"max_requests": 1000 + self._changes}))
        self.process.read_until("configuration applied")

    def hang_up(self) -> None:
        """SIGHUP."""
        self.process.signal(signal.SIGHUP)
        self.process.read_until("configuration applied")

    def post(self) -> None:
        """A reload over the admin API."""
        assert self.admin.post("/config/reload").status_code == 200
        self.process.read_until("configuration applied")

    def put(self) -> None:
        """What was read over the admin API is put back."""
        document = self.admin.get("/config").content
        answer = self.admin.put("/config", content=document, headers={"If-Match": "*"})
        assert answer.status_code == 200, answer.text
        self.process.read_until("configuration applied")

    def assert_all_there(self, where: str) -> None:
        """Both what the file says and what code added is in force, once."""
        for path in ("/added", "/of-the-file"):
            assert self.get(path, "").status_code == 401, f"{path} {where}"
            answer = self.get(path, "right")
            assert (answer.status_code, answer.headers["X-Around"]) == (200, "once"), f"{path} {where}"
            assert answer.headers.get("X-Signed") == ("1" if path == "/added" else None), f"{path} {where}"
        names = [route["name"] for route in self.admin.get("/config?effective=true").json()["routes"]]
        assert names == ["all", "added"], where

    def get(self, path: str, key: str) -> httpx.Response:
        """A request with a key, on a connection of its own."""
        return httpx.get(self.process.url + path, headers={"X-Key": key}, verify=False)


@pytest.fixture
def program(tmp_path: Path, echo: EchoInstance) -> Iterator[Callable[..., Program]]:
    """Starts programs: `program("main.py")`, or `program("-m", "pylae", "run", "gateway.py")`."""
    started: list[Program] = []

    def start(*command: str, **options: Any) -> Program:
        started.append(Program(tmp_path, echo, *command, **options))
        return started[-1]

    yield start
    for one in started:
        one.admin.close()
        one.process.stop()


WAYS = {"file": Program.change_file, "hangup": Program.hang_up, "post": Program.post, "put": Program.put}
COMMANDS = {"python": ["main.py"], "pylae run": ["-m", "pylae", "run", "gateway.py"]}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("way", WAYS)
def test_what_code_added_stays(program: Callable[..., Program], command: str, way: str) -> None:
    """The reported program: a key check that a reload must not lift, and routes that it must not lose."""
    started = program(*COMMANDS[command])
    started.assert_all_there("at first")
    for again in ("once", "twice"):
        WAYS[way](started)
        started.assert_all_there(f"after {way}, {again}")


@pytest.mark.parametrize("command", COMMANDS)
def test_what_code_added_stays_over_a_restart_with_an_applied_configuration(
    program: Callable[..., Program], command: str
) -> None:
    first = program(*COMMANDS[command])
    document = first.admin.get("/config").json()
    assert [route["name"] for route in document["routes"]] == ["all"], "what is put is not what code added"
    changed = {**document, "limits": {"max_requests": 5}}
    assert first.admin.put("/config", json=changed, headers={"If-Match": "*"}).status_code == 200
    first.process.signal(signal.SIGKILL)
    first.process.wait()
    again = program(*COMMANDS[command])
    assert again.admin.get("/status").json()["overridden"] is True
    assert again.admin.get("/config").json()["limits"] == {"max_requests": 5}
    again.assert_all_there("after a restart")
    again.post()
    again.assert_all_there("after going back to the file")
    assert "limits" not in again.admin.get("/config").json()


def test_a_program_is_followed_with_the_file_that_it_reads(program: Callable[..., Program]) -> None:
    """`pylae run gateway.py`: a change of either counts, also over what was applied; a broken file is said once."""
    started = program(*COMMANDS["pylae run"])
    applied = {**started.admin.get("/config").json(), "limits": {"max_requests": 5}}
    assert started.admin.put("/config", json=applied, headers={"If-Match": "*"}).status_code == 200
    started.process.read_until("configuration applied")
    started.process.write(started.config(limits={"max_requests": 6}))
    started.process.read_until("configuration applied")
    assert started.admin.get("/config").json()["limits"] == {"max_requests": 6}
    started.process.file.write_text("routes: [")
    started.process.read_until("not applied")
    started.process.write(started.config())
    started.process.read_until("configuration applied")
    assert sum("was not applied" in line for line in started.process.printed) == 1
    text = (started.folder / "gateway.py").read_text()
    (started.folder / "gateway.py").write_text(text.replace('name="added"', 'name="renamed"'))
    started.process.read_until("there is no route `added` for the hook")
    (started.folder / "gateway.py").write_text(text.replace("/added", "/elsewhere"))
    started.process.read_until("configuration applied")
    assert [started.get(path, "right").headers.get("X-Signed") for path in ("/added", "/elsewhere")] == [None, "1"]


CLASHES = {
    "a route": (
        {"routes": [{"name": "added", "prefix": "/", "service": "all", "auth_required": False}]},
        r"main\.py:27: routes\[1\]\.name: two routes have the name \"added\" \(the first is at .*pylae\.yaml:\d+:",
    ),
    "a service": (
        {"services": {"more": {"instances": ["http://127.0.0.1:9"]}}},
        r"main\.py:26: services\.more: there is already a service with this name \(it is at .*pylae\.yaml:\d+:",
    ),
}


@pytest.mark.parametrize("what", CLASHES)
def test_a_file_that_clashes_with_what_code_added(program: Callable[..., Program], what: str) -> None:
    """It is refused with both places, once, and the old one stays in force."""
    started = program("main.py")
    settings, words = CLASHES[what]
    started.process.write(started.config(**settings))
    started.process.read_until("not applied")
    line = started.process.read_until("main.py")
    assert re.search(words, line), line
    started.assert_all_there("after a refusal")
    refused = started.admin.put("/config", json=started.config(**settings), headers={"If-Match": "*"})
    assert refused.status_code == 422
    (problem,) = refused.json()["problems"]
    assert problem["file"].endswith("main.py")
    assert re.search(words.partition(": ")[2], f"{problem['path']}: {problem['message']} ({problem['hint']})")
    started.change_file()
    started.assert_all_there("after a repair")
    assert sum("was not applied" in one for one in started.process.printed) == 1


def test_a_hook_in_code_for_a_route_that_the_file_lacks(program: Callable[..., Program]) -> None:
    text = PROGRAM.replace('routes="added"', 'routes=["added", "all"]') + RUN
    started = program("main.py", program=text)
    other = {"routes": [{"name": "other", "prefix": "/", "service": "all", "auth_required": False}]}
    started.process.write(started.config(**other))
    started.process.read_until("not applied")
    assert "main.py:14: hooks.use[1].routes: there is no route `all` for the hook __main__.sign" in (
        started.process.read_until("main.py")
    )
    assert started.get("/added", "").status_code == 401
    assert started.get("/added", "right").headers["X-Signed"] == "1"
    started.change_file()
    assert sum("was not applied" in one for one in started.process.printed) == 1


def test_an_applied_configuration_that_code_now_contradicts_is_left(program: Callable[..., Program]) -> None:
    first = program("main.py")
    more = {"routes": [{"name": "later", "prefix": "/", "service": "all", "auth_required": False}]}
    assert first.admin.put("/config", json=first.config(**more), headers={"If-Match": "*"}).status_code == 200
    first.process.signal(signal.SIGTERM)
    first.process.wait()
    added = 'gateway.add_route(Route(name="later", path="/later", service="more", auth_required=False))\n'
    again = program("main.py", program=PROGRAM + added + RUN)
    assert any("is no longer valid; using the file" in line for line in again.process.printed)
    assert again.admin.get("/status").json()["overridden"] is False
    assert again.get("/of-the-file", "right").status_code == 200


def written(folder: Path, url: str, **settings: Any) -> Path:
    file = folder / "pylae.yaml"
    config = {"listeners": ["127.0.0.1:0"], "workers": 1, "admin": False, "state": str(folder / "state")}
    config |= {"services": {"all": {"instances": [url]}}, **settings}
    config.setdefault("routes", [{"name": "all", "prefix": "/", "service": "all", "auth_required": False}])
    file.write_text(yaml.safe_dump(config))
    return file


def static(name: str, path: str) -> Route:
    return Route(name=name, path=path, static_response={"body": name}, auth_required=False)


def forwarded(name: str, path: str) -> Route:
    return Route(name=name, path=path, service="all", auth_required=False)


def names(gateway: Gateway) -> list[str | None]:
    return [route.name for route in gateway.config.routes]


def refuse(_: object) -> Response:
    return Response(status=418)


def test_reload_and_apply_in_a_program(service: FakeService, tmp_path: Path) -> None:
    """What is added while it runs stays as well, from when it is applied."""
    gateway = Gateway.from_file(written(tmp_path, service.url))
    gateway.add_route(static("early", "/early"))
    with running(gateway) as address:
        gateway.add_route(forwarded("late", "/late"))
        gateway.add_service("late", Service(instances=["http://127.0.0.1:9"]))
        gateway.on_request(refuse, routes="late")
        assert ask(address, "/late").text == "hello", "not in force yet"
        gateway.apply()
        for _ in range(2):
            assert [ask(address, path).status for path in ("/early", "/late", "/x")] == [200, 418, 200]
            assert (names(gateway), list(gateway.config.services)) == (["all", "early", "late"], ["all", "late"])
            assert len(gateway.builder.functions) == 1
            gateway.reload()
    gateway.stop()


def test_another_gateway_takes_the_place_of_all(service: FakeService, tmp_path: Path) -> None:
    """`apply(other)` puts `other` in force, not what this one has; the file comes back with what was added to it."""
    gateway = Gateway.from_file(written(tmp_path, service.url))
    gateway.add_route(forwarded("mine", "/mine"))
    gateway.on_request(refuse)
    other = Gateway(listeners=["127.0.0.1:0"], workers=1, admin=False)
    other.add_route(static("other", "/other"))
    with running(gateway) as address:
        assert ask(address, "/mine").status == 418
        for _ in range(2):
            gateway.apply(other)
            assert [ask(address, path).status for path in ("/mine", "/other")] == [404, 200]
        gateway.add_route(static("since", "/since"))
        gateway.apply()
        assert names(gateway) == ["other", "since"]
        assert names(other) == ["other"]
        gateway.reload()
        assert names(gateway) == ["all", "mine", "since"]
        assert ask(address, "/mine").status == 418
        gateway.apply(other)
        gateway.reload()
        assert names(gateway) == ["all", "mine", "since"]


def test_a_gateway_with_a_file_of_its_own_brings_that(service: FakeService, tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    first.mkdir()
    second.mkdir()
    gateway = Gateway.from_file(written(first, service.url))
    gateway.add_route(static("mine", "/mine"))
    other = Gateway.from_file(written(second, service.url))
    other.add_route(static("other", "/other"))
    with running(gateway):
        gateway.apply(other)
        gateway.reload()
        assert names(gateway) == ["all", "other"]


def test_what_is_added_to_a_program_that_was_read(service: FakeService, tmp_path: Path) -> None:
    """What the program adds is what it adds when it is read again; what was added since stays beside it."""
    written(tmp_path, service.url)
    program = tmp_path / "gateway.py"
    text = (
        "from pylae import Gateway, Route\n"
        f"gateway = Gateway.from_file({str(tmp_path / 'pylae.yaml')!r})\n"
        "gateway.add_route(Route(name='own', path='/own', static_response={}, auth_required=False))\n"
        "gateway.on_request(lambda request: None, routes='own')\n"
        "gateway.run()\n"
    )
    program.write_text(text)
    gateway = Gateway.from_file(program)
    gateway.add_route(static("since", "/since"))
    with running(gateway):
        gateway.reload()
        assert (names(gateway), len(gateway.builder.functions)) == (["all", "own", "since"], 1)
        program.write_text(text.replace("'own'", "'renamed'"))
        gateway.reload()
        assert (names(gateway), len(gateway.builder.functions)) == (["all", "renamed", "since"], 1)
        assert gateway.builder.locate(gateway.plan(), "routes[1]").line == 3
        assert gateway.builder.locate(gateway.plan(), "routes[2]").file == __file__
        program.write_text(text.replace("'own'", "'since'"))
        with pytest.raises(ConfigError, match='two routes have the name "since"'):
            gateway.reload()
        assert names(gateway) == ["all", "renamed", "since"]


def test_a_program_that_adds_to_a_gateway_of_another_module(
    service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That module is not executed again, so its gateway has what the program added already."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "app_of_test_reload_code", raising=False)
    file = written(tmp_path, service.url)
    (tmp_path / "app_of_test_reload_code.py").write_text(
        f"from pylae import Gateway\ngateway = Gateway.from_file({str(file)!r})\n"
    )
    program = tmp_path / "gateway.py"
    program.write_text("from app_of_test_reload_code import gateway\n")
    gateway = Gateway.from_file(program)
    gateway.add_route(static("since", "/since"))
    with running(gateway):
        gateway.reload()
        assert names(gateway) == ["all", "since"]
    program.write_text(
        "from app_of_test_reload_code import gateway\nfrom pylae import Route\n"
        "gateway.add_route(Route(path='/own', static_response={}, auth_required=False))\n"
    )
    gateway = Gateway.from_file(program)
    with running(gateway):
        for _ in range(2):
            with pytest.raises(ConfigError, match="a module that is not executed again"):
                gateway.reload()
        assert len(gateway.config.routes) == 3


def test_order_of_hooks(service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the file names come first, however often it is read."""
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    (tmp_path / "order_of_test_reload_code.py").write_text(
        "def one(request): request.headers.append('X-Order', 'one')\n"
        "def two(request): request.headers.append('X-Order', 'two')\n"
    )
    hooks = [{"on_request": f"order_of_test_reload_code:{name}"} for name in ("one", "two")]
    gateway = Gateway.from_file(written(tmp_path, service.url, hooks=hooks[:1]))

    @gateway.on_request
    def three(request: Any) -> None:
        request.headers.append("X-Order", "three")

    with running(gateway) as address:
        for listed in (hooks[:1], hooks, [], hooks):
            written(tmp_path, service.url, hooks=listed)
            gateway.reload()
            ask(address, "/")
            expected = [*(hook["on_request"].rpartition(":")[2] for hook in listed), "three"]
            assert service.requests[-1].headers.get_all("X-Order") == expected


def test_a_program_without_a_file(tmp_path: Path) -> None:
    """What is applied over the admin API takes the place of its keywords only, and a hangup brings those back."""
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1, admin=False, state=str(tmp_path))
    gateway.add_route(static("added", "/added"))
    with running(gateway) as address:
        runtime = gateway.runtime
        document = {"listeners": ["127.0.0.1:0"], "workers": 1, "admin": False}
        put = {"name": "put", "path": "/put", "static_response": {"body": "put"}, "auth_required": False}
        runtime.apply_document(json.dumps({**document, "routes": [put]}))
        assert [ask(address, path).status for path in ("/put", "/added")] == [200, 200]
        assert gateway.builder.locate(gateway.plan(), "routes[1]").file == __file__
        gateway.runtime.read_file()
        assert [ask(address, path).status for path in ("/put", "/added")] == [404, 200]
        assert runtime.override.in_force is False
        with pytest.raises(ConfigError, match='two routes have the name "added"'):
            runtime.apply_document(json.dumps({**document, "routes": [{**put, "name": "added"}]}))


def test_the_test_kit(service: FakeService, tmp_path: Path) -> None:
    gateway = Gateway.from_file(written(tmp_path, "http://127.0.0.1:9"))
    gateway.add_route(Route(name="added", path="/added", service="all", auth_required=False))
    gateway.on_response(lambda _, response: response.headers.append("X-Added", "1"), routes="added")
    before, functions = gateway.config, len(gateway.builder.functions)
    with RunningGateway(gateway, {"all": service}) as under_test:
        assert under_test.get("/added").headers.get_all("X-Added") == ["1"]
        under_test.gateway.add_route(forwarded("of the test", "/test"))
        under_test.gateway.on_request(refuse, routes="of the test")
        under_test.gateway.apply()
        assert [under_test.get(path).status for path in ("/added", "/test")] == [200, 418]
    assert (gateway.config, len(gateway.builder.functions)) == (before, functions)
    assert gateway.builder.locate(gateway.plan(), "routes[1]").file == __file__


def test_commands_on_a_program_over_a_file(
    service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, service.url)
    (tmp_path / "gateway.py").write_text(PROGRAM.replace("URL", service.url) + RUN)
    monkeypatch.chdir(tmp_path)
    for arguments in (["check", "gateway.py"], ["routes", "gateway.py"], ["explain", "gateway.py", "GET", "/added"]):
        with contextlib.suppress(SystemExit):
            main(arguments)
    told = capsys.readouterr().out
    assert "ok gateway.py: 2 routes, 2 services" in told
    assert len(re.findall("^added .*exact /added", told, re.MULTILINE)) == 1
    assert "gateway.py:27" in told
