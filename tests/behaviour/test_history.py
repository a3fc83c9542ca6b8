"""The history of a gateway: every configuration that was put in force, and the way back."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pylae.cli import main
from support.admin import Admin
from support.instance import EchoInstance
from support.recorded import Recorded

Start = Callable[..., Admin]


@pytest.fixture
def recorded(tmp_path: Path, echo: EchoInstance) -> Iterator[Recorded]:
    with Recorded(tmp_path, all=echo) as gateway:
        yield gateway


def timeout(seconds: int) -> dict[str, Any]:
    """A configuration that no other number has."""
    return {"services": {"all": {"connect_timeout": seconds}}}


def set_timeout(seconds: int) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["services"]["all"]["connect_timeout"] = seconds

    return change


def pylae(recorded: Recorded, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--state", str(recorded.state)])


def test_every_way_to_put_something_in_force_is_recorded(recorded: Recorded) -> None:
    recorded.start(timeout(1))
    process = recorded.running()
    recorded.write(timeout(2))
    process.signal(signal.SIGHUP)
    process.read_until("configuration applied")
    recorded.change(set_timeout(3), reason="a test of three")
    assert recorded.http.post("/config/reload", params={"reason": "back"}).status_code == 200
    assert recorded.roll_back(4, reason="forth").status_code == 200
    found = recorded.entries()
    assert [one["number"] for one in found] == [1, 2, 3, 4, 5, 6]
    assert [(one["how"], one["author"], one["reason"]) for one in found] == [
        ("start", "file", None),
        ("file", "file", None),
        ("signal", "signal", None),
        ("admin", "admin", "a test of three"),
        ("reload", "admin", "back"),
        ("rollback", "admin", "forth"),
    ]
    path = "services.all.connect_timeout"
    changes = [[(one["path"], one["before"], one["after"]) for one in entry["changes"]] for entry in found[1:]]
    assert changes == [[(path, 1, 2)], [], [(path, 2, 3)], [(path, 3, 2)], [(path, 2, 3)]]
    assert [one["count"] for one in found[1:]] == [1, 0, 1, 1, 1]
    assert [one["returns_to"] for one in found] == [None] * 5 + [4]
    assert found[3]["digest"] == found[5]["digest"]
    assert recorded.get("/history/4/config") == recorded.get("/history/6/config") == recorded.get("/config")
    assert found[0]["at"] <= found[5]["at"]


def test_a_start_is_recorded_if_it_differs(recorded: Recorded) -> None:
    recorded.start(timeout(1))
    recorded.kill()
    recorded.start()
    assert len(recorded.waiting()) == 1
    assert recorded.how() == ["start"]
    assert recorded.waiting() == []
    recorded.kill()
    recorded.start()
    assert recorded.how() == ["start"]
    recorded.change(set_timeout(2))
    recorded.kill()
    recorded.start()
    assert recorded.how() == ["start", "admin"]
    recorded.kill()
    recorded.start(timeout(3))
    assert recorded.how() == ["start", "admin", "start"]


def test_what_was_refused_is_not_recorded(recorded: Recorded) -> None:
    recorded.start(timeout(1))
    assert recorded.put({"routes": 7}).status_code == 422
    assert recorded.http.post("/config/validate", content=b"{}").status_code == 200
    recorded.running().file.write_text("routes: 7")
    recorded.running().read_until("was not applied")
    assert recorded.roll_back(7).status_code == 404
    assert recorded.roll_back(1, match="x").status_code == 409
    assert recorded.http.post("/history/1/rollback").status_code == 428
    assert recorded.how() == ["start"]


def test_an_idle_gateway_opens_no_store(recorded: Recorded) -> None:
    recorded.start(timeout(1))
    recorded.change(set_timeout(2))
    assert not (recorded.state / "store.db").exists()
    assert len(recorded.waiting()) == 2
    assert recorded.how() == ["start", "admin"]
    assert (recorded.state / "store.db").exists()
    assert recorded.waiting() == []


def test_a_program_is_recorded_if_what_is_written_differs(admin: Start, echo: EchoInstance) -> None:
    with admin(timeout(1), all=echo) as api:
        running = api.running
        running.gateway.apply()
        running.gateway.add_route(path="/added", service="all", auth_required=False)
        running.gateway.apply()
        running.apply(timeout(2), all=echo)
        found = api.get("/history")["entries"]
        assert [(one["how"], one["author"]) for one in found] == [("program", "program"), ("start", "program")]
        assert api.get("/history/1/config")["routes"] == [
            {"name": "all", "prefix": "/", "service": "all", "auth_required": False}
        ]


def test_instances_that_are_found_are_no_configuration(recorded: Recorded) -> None:
    recorded.start({"services": {"found": {"discovery": {"heartbeat": {}}}}})
    registered = recorded.http.post("/services/found/instances", json={"url": "http://127.0.0.1:9"})
    assert registered.status_code == 201
    assert recorded.how() == ["start"]


def test_pages(recorded: Recorded) -> None:
    recorded.start(timeout(1))
    for number in range(2, 7):
        recorded.change(set_timeout(number))
    first = recorded.get("/history?limit=4")
    assert [one["number"] for one in first["entries"]] == [6, 5, 4, 3]
    assert first["more"]
    second = recorded.get("/history?limit=4&before=3")
    assert [one["number"] for one in second["entries"]] == [2, 1]
    assert not second["more"]
    assert not recorded.get("/history?limit=2&before=3")["more"]
    assert recorded.get("/history?before=1") == {"entries": [], "more": False}
    for wrong in ("limit=0", "limit=101", "before=0", "before=x"):
        assert recorded.http.get(f"/history?{wrong}").status_code == 422
    for missing in ("7", "7/config", "7/diff", "1/diff?other=7"):
        answer = recorded.http.get(f"/history/{missing}")
        assert answer.status_code == 404
        assert "no entry 7" in answer.json()["detail"]


def test_differences(recorded: Recorded) -> None:
    recorded.start(timeout(1))
    recorded.change(set_timeout(2))
    change = {"path": "services.all.connect_timeout", "before": 1, "after": 2, "cut": False}
    assert recorded.get("/history/1/diff?other=2") == {"changes": [change], "count": 1}
    assert recorded.get("/history/1/diff") == {"changes": [change], "count": 1}
    assert recorded.get("/history/2/diff") == {"changes": [], "count": 0}
    assert recorded.get("/history/2/diff?other=1")["changes"] == [{**change, "before": 2, "after": 1}]


def test_only_some_are_kept(recorded: Recorded) -> None:
    recorded.start({**timeout(1), "store": {"history": 3}})
    for number in range(2, 9):
        recorded.change(set_timeout(number))
    # The journal is no longer than the history would be.
    assert len(recorded.waiting()) == 3
    assert [one["number"] for one in recorded.entries()] == [1, 2, 3]
    recorded.change(set_timeout(9))
    found = recorded.entries()
    assert [one["number"] for one in found] == [2, 3, 4]
    assert found[-1]["changes"][0]["after"] == 9
    assert recorded.roll_back(1).status_code == 404


def test_a_rollback_outlives_a_restart_until_the_file_changes(recorded: Recorded) -> None:
    recorded.start(timeout(1))
    recorded.write(timeout(2))
    revision = recorded.http.get("/config").headers["ETag"]
    answer = recorded.roll_back(1, match=revision)
    assert answer.status_code == 200, answer.text
    assert answer.headers["ETag"] == f'"{answer.json()["revision"]}"' != revision
    recorded.kill()
    recorded.start()
    assert recorded.get("/config")["services"]["all"]["connect_timeout"] == 1
    assert recorded.how() == ["start", "file", "rollback"]
    recorded.write(timeout(3))
    assert recorded.get("/config")["services"]["all"]["connect_timeout"] == 3
    assert recorded.how() == ["start", "file", "rollback", "file"]


def test_what_only_the_file_can_change_is_not_rolled_back(recorded: Recorded) -> None:
    old = {**timeout(1), "store": {"history": 7}, "admin": {"address": "127.0.0.1:0", "references": ["A"]}}
    recorded.start(old)
    recorded.kill()
    recorded.start({**timeout(2), "admin": {"address": "127.0.0.1:0", "references": ["B"]}})
    assert recorded.roll_back(1).status_code == 200
    now = recorded.get("/config")
    assert now["services"]["all"]["connect_timeout"] == 1
    assert now["admin"]["references"] == ["B"]
    assert "store" not in now


@pytest.mark.parametrize("store", [{"history": 5}, {"timeout": 1}, "etcd://127.0.0.1:1"])
def test_a_document_cannot_change_the_store(recorded: Recorded, store: Any) -> None:
    recorded.start({**timeout(1), "store": {"history": 9}})
    document = recorded.get("/config")
    for same in (document, {key: value for key, value in document.items() if key != "store"}):
        assert recorded.put(same).status_code == 200
    answer = recorded.put({**document, "store": store})
    assert answer.status_code == 422
    (problem,) = answer.json()["problems"]
    assert problem["path"] == "store"
    assert "only the node's own file can change it" in problem["message"]
    verdict = recorded.http.post("/config/validate", json={**document, "store": store}).json()
    assert [one["path"] for one in verdict["problems"]] == ["store"]


def test_changes_at_once_follow_each_other(recorded: Recorded) -> None:
    recorded.start(timeout(1))

    def put(writer: int) -> None:
        for number in range(5):
            document = recorded.get("/config")
            set_timeout(100 * writer + number + 2)(document)
            assert recorded.put(document, reason=f"{writer}").status_code == 200
            recorded.get("/history")

    threads = [threading.Thread(target=put, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = recorded.entries()
    assert [one["number"] for one in found] == list(range(1, 22))
    value = 1
    for one in found[1:]:
        (change,) = one["changes"]
        assert change["before"] == value
        value = change["after"]
    assert recorded.get("/config")["services"]["all"]["connect_timeout"] == value


def test_a_journal_that_cannot_be_written_keeps_nothing_from_being_applied(recorded: Recorded) -> None:
    recorded.state.mkdir(mode=0o700)
    (recorded.state / "history").write_text("no folder")
    recorded.start(timeout(1))
    recorded.running().said("the configuration in force is not in the history")
    recorded.change(set_timeout(2))
    assert "pylae_history_failures_total 2" in recorded.http.get("/metrics").text
    assert recorded.entries() == []
    (recorded.state / "history").unlink()
    recorded.change(set_timeout(3))
    assert [one["changes"][0]["path"] for one in recorded.entries()] == ["admin"]


def test_a_store_that_cannot_be_used_is_told_and_loses_nothing(recorded: Recorded) -> None:
    recorded.start(timeout(1))
    (recorded.state / "store.db").write_bytes(b"no database" * 1000)
    (recorded.state / "store.db").chmod(0o600)
    answer = recorded.http.get("/history")
    assert answer.status_code == 503
    assert "is damaged" in answer.json()["detail"]
    recorded.change(set_timeout(2))
    (recorded.state / "store.db").unlink()
    assert recorded.how() == ["start", "admin"]


def test_a_backup_has_what_nobody_has_asked_for_yet(recorded: Recorded, tmp_path: Path) -> None:
    recorded.start(timeout(1)).change(set_timeout(2))
    assert not (recorded.state / "store.db").exists()
    file = tmp_path / "kept.backup"
    told = pylae(recorded, "store", "backup", str(file))
    assert told.exit_code == 0, told.output
    kept = file.read_text()
    assert "history/entries/0000000002" in kept
    assert '"audit/' in kept
    assert [one["number"] for one in recorded.entries()] == [1, 2]


def test_a_damaged_file_of_the_journal_is_left_aside(recorded: Recorded) -> None:
    recorded.start(timeout(1))
    for number in (2, 3):
        recorded.change(set_timeout(number))
    first, second, _ = recorded.waiting()
    first.write_bytes(first.read_bytes()[:100])
    found = json.loads(second.read_bytes())
    second.write_text(json.dumps({**found, "digest": "0" * 64}))
    assert recorded.how() == ["admin"]
    recorded.running().said("an entry of the history cannot be read")
    assert len(list((recorded.state / "history").glob("*.damaged"))) == 2


def test_the_verbs(recorded: Recorded) -> None:
    recorded.start(timeout(1))
    recorded.change(set_timeout(2), reason="more\x1b[31m time")
    listed = pylae(recorded, "history")
    assert listed.exit_code == 0, listed.output
    header, second, first = listed.stdout.splitlines()
    assert header.split() == ["NUMBER", "WHEN", "WHO", "HOW", "CHANGED", "REASON"]
    assert second.split()[0] == "2"
    assert second.split()[3:] == ["admin", "admin", "services.all.connect_timeout", "more", "[31m", "time"]
    assert first.split()[3:5] == ["file", "start"]
    assert len(json.loads(pylae(recorded, "history", "--json", "-n", "1").stdout)) == 1
    (shown, reason, change) = pylae(recorded, "history", "2").stdout.splitlines()
    assert shown.startswith("entry 2 ")
    assert reason == "more [31m time"
    assert change == "  services.all.connect_timeout: 1 -> 2"
    assert pylae(recorded, "diff", "1", "2").stdout == "  services.all.connect_timeout: 1 -> 2\n"
    assert pylae(recorded, "diff", "2").stdout == "no setting differs\n"
    assert json.loads(pylae(recorded, "diff", "1", "--json").stdout)["count"] == 1
    rolled = pylae(recorded, "rollback", "1", "--reason", "too much")
    assert rolled.exit_code == 0, rolled.output
    assert "stays in force until the configuration file changes" in rolled.stdout
    assert recorded.entries()[-1]["reason"] == "too much"
    assert recorded.entries()[-1]["author"] == "local"
    assert "rollback to 1" in pylae(recorded, "history").stdout
    missing = pylae(recorded, "rollback", "9")
    assert missing.exit_code == 3
    assert "no entry 9" in missing.output
