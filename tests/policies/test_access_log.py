from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, EngineError, Gateway
from pylae.testing import FakeService, Received, Reply
from support.admin import Admin
from support.exchanges import DEADLINE, ask, running
from support.h2client import FramePeer
from support.peer import wait_until
from support.running import Process


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def configuration(url: str, output: object, gone: str | None = None, **settings: Any) -> dict[str, Any]:
    log = {"output": str(output), **settings}
    return {
        "services": {"one": {"instances": [url]}, "gone": {"instances": [gone or url]}},
        "policies": {"access_log": log},
        "limits": {"max_body": 100},
        "routes": [
            {"name": "items", "prefix": "/items", "service": "one", "auth_required": False},
            {"name": "gone", "path": "/gone", "service": "gone", "retries": 1, "auth_required": False},
            {"name": "quiet", "path": "/quiet", "service": "one", "auth_required": False, "access_log": False},
        ],
    }


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def raw(address: str, request: bytes) -> bytes:
    """What comes back for these bytes until the gateway closes."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_one_line_per_exchange(tmp_path: Path, file: Path, dead_url: str) -> None:
    with FakeService() as service, running(tmp_path, configuration(service.url, file, dead_url)) as (gateway, address):
        headers = {"X-Request-ID": "r-1", "User-Agent": "test", "Referer": "http://a.example/?token=s3cret"}
        ask(address, "/items/7?a=1&access_token=s3cret", "POST", headers, b"12345")
        ask(address, "/gone")
        ask(address, "/nowhere?x")
        ask(address, "/quiet")
        ask(address, "/items", "POST", body=b"x" * 101)
        assert raw(address, b"GET /items HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n").startswith(b"HTTP/1.1 400")
        gateway.stop()
        assert "s3cret" not in file.read_text()
        served, gone, unrouted, large, malformed = lines(file)
    for line in (served, gone, unrouted, large, malformed):
        assert line.pop("timestamp").endswith("Z")
        assert line.pop("duration") >= 0
        assert line.pop("bytes_out") > 0
        assert line["complete"] is True
        assert line["client"] == "127.0.0.1"
    assert served.pop("upstream_time") > 0
    assert served == {
        "request_id": "r-1",
        "client": "127.0.0.1",
        "user": None,
        "method": "POST",
        "host": address,
        "path": "/items/7",
        "query": "a=1&access_token=***",
        "route": "items",
        "service": "one",
        "instance": service.url,
        "status": 200,
        "code": None,
        "bytes_in": 5,
        "retries": 0,
        "complete": True,
        "protocol": "HTTP/1.1",
        "user_agent": "test",
        "referer": "http://a.example/?token=***",
    }
    assert (gone["status"], gone["code"], gone["retries"], gone["route"]) == (502, "connect_failed", 1, "gone")
    assert (unrouted["status"], unrouted["code"], unrouted["route"], unrouted["path"]) == (
        404,
        "no_route",
        None,
        "/nowhere",
    )
    assert (large["status"], large["code"]) == (413, "body_too_large")
    # Nothing of an earlier request shows in the line of one that could not be read.
    assert (malformed["status"], malformed["code"]) == (400, "malformed_request")
    assert (malformed["path"], malformed["query"], malformed["upstream_time"]) == (None, None, None)


def test_a_client_that_goes_away_has_one_line(tmp_path: Path, file: Path) -> None:
    asked, answer = threading.Event(), threading.Event()

    def wait(_: Received) -> Reply:
        asked.set()
        answer.wait(DEADLINE)
        return Reply()

    with FakeService(wait) as service, running(tmp_path, configuration(service.url, file)) as (gateway, address):
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=DEADLINE) as connection:
            connection.sendall(b"GET /items HTTP/1.1\r\nHost: a\r\n\r\n")
            assert asked.wait(DEADLINE)
        gateway.stop()
        answer.set()
        (line,) = lines(file)
    assert (line["status"], line["code"], line["complete"], line["route"]) == (499, "client_gone", False, "items")


def test_logged_fields_and_masks(tmp_path: Path, file: Path) -> None:
    settings = {
        "request_headers": ["X-Tenant", "Authorization", "X-Pin"],
        "response_headers": ["Set-Cookie", "X-Total", "X-Request-ID"],
        "mask": "X-Pin",
    }
    reply = Reply(headers=[("Set-Cookie", "s3cret"), ("X-Total", "7")])
    with (
        FakeService(reply) as service,
        running(tmp_path, configuration(service.url, file, **settings)) as (one, address),
    ):
        headers = {"X-Tenant": "acme", "Authorization": "Bearer s3cret", "X-Pin": "s3cret", "X-Request-ID": "r"}
        ask(address, "/items?x-pin=s3cret", headers=headers)
        one.stop()
        assert "s3cret" not in file.read_text()
        (line,) = lines(file)
    assert line["request_headers"] == {"X-Tenant": "acme", "Authorization": "***", "X-Pin": "***"}
    assert line["response_headers"] == {"Set-Cookie": "***", "X-Total": "7", "X-Request-ID": "r"}


def test_where_api_keys_come_in_is_masked(tmp_path: Path, file: Path) -> None:
    keys = {
        "query": "k",
        "header": "X-Partner",
        "consumers": {"p": {"keys": [sha256(b"s3cret-s3cret-s3cret").hexdigest()]}},
    }
    with FakeService() as service:
        plan = {**configuration(service.url, file, request_headers=["X-Partner"]), "auth": {"api_key": keys}}
        with running(tmp_path, plan) as (one, address):
            ask(address, "/items?a=1&k=s3cret-s3cret-s3cret")
            ask(address, "/items?%6B=s3cret-s3cret-s3cret", headers={"X-Partner": "s3cret-s3cret-s3cret"})
            one.stop()
            assert "s3cret" not in file.read_text()
            asked = [(line["query"], line["request_headers"]) for line in lines(file)]
    assert asked == [("a=1&k=***", {"X-Partner": None}), ("%6B=***", {"X-Partner": "***"})]


def test_what_is_masked_is_masked_in_every_field_and_for_those_who_look_without_a_log(
    admin: Callable[..., Admin], service: FakeService, file: Path
) -> None:
    service.answer = Reply(headers=[("Location", "/cb#access_token=s3cret"), ("X-Next", "/n?pin=s3cret&a=1")])
    log = {
        "output": str(file),
        "request_headers": ["X-Original-URL", "Cookie"],
        "response_headers": ["Location", "X-Next"],
        "mask": ["pin", "User-Agent"],
    }
    route = {"name": "items", "prefix": "/", "service": "one", "auth_required": False, "access_log": log}
    headers = {
        "X-Original-URL": "/a?token=s3cret",
        "Cookie": "s=s3cret",
        "User-Agent": "s3cret",
        "Referer": "http://a/?pin=s3cret",
        "Authorization": "Bearer s3cret",
    }
    with admin({"services": {"one": {"instances": [service.url]}}, "routes": [route]}) as api:
        ask(api.running.address, "/items?a=1&pin=s3cret&api_key=s3cret", headers=headers)
        wait_until(lambda: len(api.get("/exchanges")["exchanges"]) == 1)
        (seen,) = api.get("/exchanges")["exchanges"]
        api.running.stop()
    (line,) = lines(file)
    assert line["request_headers"] == {"X-Original-URL": "/a?token=***", "Cookie": "***"}
    assert line["response_headers"] == {"Location": "/cb#access_token=***", "X-Next": "/n?pin=***&a=1"}
    for shown in (line, seen):
        assert "s3cret" not in json.dumps(shown)
        assert (shown["query"], shown["user_agent"]) == ("a=1&pin=***&api_key=***", "***")
        assert shown["referer"] == "http://a/?pin=***"


@pytest.mark.parametrize("style", ["json", "combined"])
def test_every_protocol_is_called_by_its_name(tmp_path: Path, file: Path, style: str) -> None:
    plan = configuration("http://127.0.0.1:1", file, format=style)
    plan["listeners"] = [{"address": "127.0.0.1:0", "http2": True}]
    with running(tmp_path, plan) as (one, address):
        with FramePeer(address) as peer:
            assert peer.get("/nowhere").status == 404
        assert raw(address, b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").startswith(
            b"HTTP/1.1 404"
        )
        assert raw(address, b"GET /nowhere HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 404")
        one.stop()
    found = re.findall(r"HTTP/\d\.\d", file.read_text())
    assert found == ["HTTP/2.0", "HTTP/1.1", "HTTP/1.0"]


@pytest.mark.parametrize(("style", "end"), [("common", "\n"), ("combined", ' "http://a/?b" "a\\"b"\n')])
def test_formats_of_others(tmp_path: Path, file: Path, style: str, end: str) -> None:
    with FakeService() as service, running(tmp_path, configuration(service.url, file, format=style)) as (one, address):
        ask(address, "/items?a=1", headers={"User-Agent": 'a"b', "Referer": "http://a/?b"})
        one.stop()
        line = file.read_text()
    assert line.startswith("127.0.0.1 - - [")
    assert '] "GET /items?a=1 HTTP/1.1" 200 ' in line
    assert line.endswith(end)


def test_a_renamed_file_is_opened_again(tmp_path: Path, file: Path) -> None:
    with FakeService() as service, running(tmp_path, configuration(service.url, file)) as (one, address):
        ask(address, "/items")
        old = file.rename(tmp_path / "access.log.1")
        ask(address, "/items/again")
        one.stop()
        paths = [line["path"] for each in (old, file) if each.exists() for line in lines(each)]
    assert sorted(paths) == ["/items", "/items/again"]
    assert "/items/again" in file.read_text()


def test_rotation_by_a_signal(gateway_process: Callable[..., Process], service: FakeService, file: Path) -> None:
    gateway = gateway_process({"admin": False, **configuration(service.url, file)})
    rotated = [file.with_name(f"access.log.{number}") for number in range(3)]
    for number, old in enumerate(rotated):
        assert ask(gateway.address, f"/items/{number}").status == 200
        file.rename(old)
        gateway.signal(signal.SIGUSR1)
        gateway.read_until("the files of access logs are opened again")
        # It is there although nobody asks for anything, and whoever rotates can compress the old one.
        wait_until(file.exists)
    assert ask(gateway.address, "/items/last").status == 200
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    paths = [[line["path"] for line in lines(one)] for one in (*rotated, file)]
    assert [path for one in paths for path in one] == ["/items/0", "/items/1", "/items/2", "/items/last"]


def test_an_output_may_change_with_a_reload(tmp_path: Path, file: Path) -> None:
    with FakeService() as service, running(tmp_path, configuration(service.url, file)) as (one, address):
        ask(address, "/items/1")
        other = tmp_path / "other.log"
        (tmp_path / "pylae.yaml").write_text((tmp_path / "pylae.yaml").read_text().replace(str(file), str(other)))
        one.reload()
        ask(address, "/items/2")
        bad = (tmp_path / "pylae.yaml").read_text().replace(str(other), str(tmp_path / "no" / "folder"))
        (tmp_path / "pylae.yaml").write_text(bad)
        with pytest.raises(EngineError, match="cannot be opened"):
            one.reload()
        ask(address, "/items/3")
        one.stop()
    assert [line["path"] for line in lines(file)] == ["/items/1"]
    assert [line["path"] for line in lines(other)] == ["/items/2", "/items/3"]


@contextlib.contextmanager
def stuck(path: Path) -> Iterator[None]:
    """A pipe from which nobody reads."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield
    finally:
        os.close(reader)


def test_a_stuck_output_costs_lines_and_no_request(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    with (
        FakeService() as service,
        stuck(pipe),
        running(tmp_path, configuration(service.url, pipe, request_headers=["X-Long"])) as (one, address),
    ):
        for _ in range(160):
            assert ask(address, "/items", headers={"X-Long": "x" * 16000}).status == 200
        (log,) = one.stats()["access_logs"]
        assert log["output"] == str(pipe)
        assert log["dropped"] > 0


def said(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    """What the gateway's log says of an event."""
    return [record.getMessage() for record in caplog.records if getattr(record, "event", None) == event]


def test_lost_lines_are_said_when_it_begins_and_when_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    settings = {"request_headers": ["X-Long"]}
    with (
        FakeService() as service,
        contextlib.closing(os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)) as reader,
        running(tmp_path, configuration(service.url, pipe, **settings)) as (one, address),
    ):

        def dropped() -> int:
            count: int = one.stats()["access_logs"][0]["dropped"]
            return count

        while dropped() < 5:
            assert ask(address, "/items", headers={"X-Long": "x" * 16000}).status == 200
        wait_until(lambda: bool(said(caplog, "access_log_loss")))
        assert said(caplog, "access_log_loss") == [
            f"lines of the access log {pipe} are being lost: it takes none, or too slowly"
        ]
        lost = dropped()

        def over() -> bool:
            # Somebody reads now, and lines come through.
            while reader.read(2**20):
                pass
            assert ask(address, "/items/late").status == 200
            return bool(said(caplog, "access_log_loss_over"))

        wait_until(over)
        assert dropped() == lost
        assert said(caplog, "access_log_loss_over") == [f"the access log {pipe} takes lines again; lines lost: {lost}"]
        assert len(said(caplog, "access_log_loss")) == 1


def test_lost_lines_are_said_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with FakeService() as service, running(tmp_path, configuration(service.url, pipe)) as (_, address):
        for _ in range(3):
            assert ask(address, "/items").status == 200
    wait_until(lambda: bool(said(caplog, "access_log_loss_over")))
    assert said(caplog, "access_log_loss_over") == [f"the access log {pipe} ends; lines lost: 3"]
    assert len(said(caplog, "access_log_loss")) == 1


def test_a_pipe_without_a_reader_delays_neither_start_nor_request(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Lets a start that waits for a reader fail instead of waiting for ever.
    rescue = threading.Timer(DEADLINE, lambda: os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)))
    rescue.start()
    try:
        with FakeService() as service, running(tmp_path, configuration(service.url, pipe)) as (one, address):
            assert rescue.is_alive(), "the start waited for a reader"
            assert ask(address, "/items/early").status == 200
            wait_until(lambda: one.stats()["access_logs"][0]["dropped"] == 1)
            with os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as reader:
                read = b""
                while b"\n" not in read:
                    assert ask(address, "/items/late").status == 200
                    read += reader.read(65536) or b""
                assert json.loads(read.partition(b"\n")[0])["path"] == "/items/late"
    finally:
        rescue.cancel()


def test_a_line_that_was_written_in_part_is_completed(
    gateway_process: Callable[..., Process], service: FakeService, file: Path
) -> None:
    """A full disk takes the beginning of a line; what is written once there is room makes it whole."""
    gateway = gateway_process({"admin": False, **configuration(service.url, file)})
    _, hard = resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE)

    def ask_for(path: str, size: Callable[[], bool]) -> None:
        assert ask(gateway.address, path).status == 200
        wait_until(size)

    ask_for("/items/1", lambda: file.exists() and file.read_bytes().endswith(b"\n"))
    full = file.stat().st_size + 100
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (full, hard))
    ask_for("/items/2", lambda: file.stat().st_size == full)
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    ask_for("/items/3", lambda: file.read_bytes().count(b"\n") == 3)
    assert [line["path"] for line in lines(file)] == ["/items/1", "/items/2", "/items/3"]


def test_a_full_output_costs_lines_and_no_request(tmp_path: Path) -> None:
    with FakeService() as service, running(tmp_path, configuration(service.url, "/dev/full")) as (one, address):
        while one.stats()["access_logs"][0]["dropped"] == 0:
            assert ask(address, "/items").status == 200


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{output: ''}", "output"),
        ("{format: xml}", "json, common"),
        ("{mask: ['a b']}", "must be a name"),
        ("{request_headers: 5}", "request_headers"),
        ("{outptu: stdout}", "did you mean `output`"),
    ],
)
def test_bad_configuration(tmp_path: Path, settings: str, words: str) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(f"policies:\n  access_log: {settings}\n")
    with pytest.raises(ConfigError, match=words):
        Gateway.from_file(file).check()


def test_a_file_that_cannot_be_opened_is_said_at_the_start(tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match=r"access_log.output: cannot be opened"),
        running(tmp_path, configuration("http://127.0.0.1:1", tmp_path / "no" / "folder")),
    ):
        pass
