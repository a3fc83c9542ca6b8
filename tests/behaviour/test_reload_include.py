"""A running gateway whose configuration is in several files: each of them counts, whichever is changed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from support.instance import EchoInstance
from support.running import Process, configure

PROGRAM = """\
import logging

from pylae import Gateway

logging.basicConfig(level=logging.INFO, format="%(message)s")
gateway = Gateway.from_file("pylae.yaml")
gateway.add_route(name="added", path="/added", service="all", auth_required=False)


@gateway.on_response(routes=["added"])
def sign(request, response):
    response.headers["X-Signed"] = "1"


gateway.run()
"""


class Several:
    """A gateway with a main file and others, and a client of its admin API."""

    def __init__(self, folder: Path, instance: EchoInstance, *command: str) -> None:
        self.folder, self._instance = folder, instance
        (folder / "routes").mkdir()
        self.write("a")
        self.process = Process(self.config(), folder, *command)
        address = self.process.read_until("admin API on").split()[-1]
        token = (folder / "state" / "admin-token").read_text().strip()
        self.admin = httpx.Client(
            base_url=f"http://{address}", headers={"Authorization": f"Bearer {token}"}, timeout=30, verify=False
        )

    def config(self, **settings: Any) -> dict[str, Any]:
        """What the main file says."""
        main = {"include": "routes/*.yaml", "admin": "127.0.0.1:0", "state": "state", "routes": [], **settings}
        return configure(main, all=self._instance)

    def write(self, name: str, path: str | None = None) -> None:
        """Writes a file that is included."""
        route = {"name": name, "path": path or f"/{name}", "service": "all", "auth_required": False}
        beside = self.folder / "routes" / f"{name}.part"
        beside.write_text(yaml.safe_dump({"routes": [route]}))
        beside.replace(self.folder / "routes" / f"{name}.yaml")

    def applied(self) -> None:
        """Waits until a change was noticed and applied."""
        self.process.read_until("configuration applied")

    def status(self, path: str) -> int:
        """The status of a request."""
        return httpx.get(self.process.url + path, verify=False).status_code


@pytest.fixture
def several(tmp_path: Path, echo: EchoInstance) -> Iterator[Callable[..., Several]]:
    """Starts one: `several()`, or `several("gateway.py")` for a program that reads the main file."""
    started: list[Several] = []

    def start(*command: str) -> Several:
        started.append(Several(tmp_path, echo, *command))
        return started[-1]

    yield start
    for one in started:
        one.admin.close()
        one.process.stop()


def test_files_that_change_come_and_go(several: Callable[..., Several]) -> None:
    running = several()
    assert (running.status("/a"), running.status("/b")) == (200, 404)
    running.write("a", "/elsewhere")
    running.applied()
    assert (running.status("/a"), running.status("/elsewhere")) == (404, 200)
    running.write("b")
    running.applied()
    assert running.status("/b") == 200
    (running.folder / "routes" / "b.yaml").unlink()
    running.applied()
    assert running.status("/b") == 404
    running.process.write(running.config(limits={"max_requests": 50}))
    running.applied()
    assert running.status("/elsewhere") == 200


def test_a_broken_file_is_refused_with_its_place_and_the_old_ones_stay(several: Callable[..., Several]) -> None:
    running = several()
    (running.folder / "routes" / "b.yaml").write_text("routes: [{nmae: b}]\n")
    running.process.read_until("not applied")
    assert "routes/b.yaml:1:11: routes[1].nmae: unknown key `nmae`" in running.process.read_until("nmae")
    assert running.status("/a") == 200
    running.write("b")
    running.applied()
    assert (running.status("/a"), running.status("/b")) == (200, 200)


def test_a_hang_up_and_the_admin_api_read_all_files(several: Callable[..., Several]) -> None:
    running = several()
    for way in (lambda: running.process.signal(signal.SIGHUP), lambda: running.admin.post("/config/reload")):
        way()
        running.applied()
        assert running.status("/a") == 200
    document = running.admin.get("/config").json()
    assert "include" not in document
    assert [route["name"] for route in document["routes"]] == ["a"]
    refused = running.admin.put("/config", json={**document, "include": "/etc/*.yaml"}, headers={"If-Match": "*"})
    assert refused.status_code == 422
    assert "can include others" in refused.text


def test_what_was_applied_counts_until_any_of_the_files_changes(several: Callable[..., Several]) -> None:
    running = several()
    document = running.admin.get("/config").json()
    changed = {**document, "limits": {"max_requests": 7}}
    assert running.admin.put("/config", json=changed, headers={"If-Match": "*"}).status_code == 200
    running.applied()
    assert running.admin.get("/config").json()["limits"] == {"max_requests": 7}
    running.write("b")
    running.applied()
    assert "limits" not in running.admin.get("/config").json()
    assert (running.status("/a"), running.status("/b")) == (200, 200)


@pytest.mark.parametrize("command", [("gateway.py",), ("-m", "pylae", "run", "gateway.py")], ids=["python", "run"])
def test_what_code_added_stays_over_changes_of_all_files(
    several: Callable[..., Several], tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "gateway.py").write_text(PROGRAM)
    running = several(*command)

    def assert_all_there(*paths: str) -> None:
        assert [running.status(path) for path in paths] == [200] * len(paths)
        answer = httpx.get(running.process.url + "/added", verify=False)
        assert (answer.status_code, answer.headers["X-Signed"]) == (200, "1")

    assert_all_there("/a")
    running.write("b")
    running.applied()
    assert_all_there("/a", "/b")
    running.write("a", "/other")
    running.applied()
    assert_all_there("/other", "/b")
    running.process.signal(signal.SIGHUP)
    running.applied()
    assert_all_there("/other", "/b")
