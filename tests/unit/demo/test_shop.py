"""The shop as processes: whatever happens to the one that started them, none is left, and no directory either."""

from __future__ import annotations

import http.client
import os
import queue
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pylae.demo import shop
from pylae.demo.shop import Record, Shop, ShopError

DEADLINE = 30

HOLD = """
import json, sys
from pylae.demo.shop import Shop
with Shop(lambda record: None) as shop:
    pids = [process.pid for process in shop.processes.values()]
    print(json.dumps({"pids": pids, "directory": str(shop.directory)}), flush=True)
    sys.stdin.read()
"""


def test_services_answer_tell_and_leave_nothing() -> None:
    records: queue.SimpleQueue[Record] = queue.SimpleQueue()
    with Shop(records.put) as running:
        assert set(running.addresses) == {
            "USERS_1_URL",
            "USERS_2_URL",
            "PAYMENTS_URL",
            "NOTIFICATIONS_URL",
            "ORDERS_URL",
        }
        assert len(running.processes) == 5
        connection = http.client.HTTPConnection(urlsplit(running.addresses["USERS_2_URL"]).netloc, timeout=DEADLINE)
        connection.request("GET", "/api/users/1", headers={"X-Request-ID": "r-1"})
        assert connection.getresponse().status == 200
        connection.close()
        record = records.get(timeout=DEADLINE)
        assert (record["instance"], record["target"], record["request_id"]) == ("users-2", "/api/users/1", "r-1")
        processes, directory = list(running.processes.values()), running.directory
        assert directory.is_dir()
    assert [process.returncode for process in processes] == [0] * 5
    assert not directory.exists()


def test_services_end_when_the_shop_is_killed() -> None:
    import json

    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdin
    held = json.loads(holder.stdout.readline())
    watched = [os.pidfd_open(pid) for pid in held["pids"]]
    holder.send_signal(signal.SIGKILL)
    holder.wait(DEADLINE)
    wait_until_ended(watched)
    assert not Path(held["directory"]).exists()
    holder.stdin.close()
    holder.stdout.close()


def wait_until_ended(watched: list[int]) -> None:
    """Waits for the processes behind file descriptors of `pidfd_open`, which become readable when they end."""
    import select

    for descriptor in watched:
        assert select.select([descriptor], [], [], DEADLINE)[0], "a service outlives the shop"
        os.close(descriptor)


def test_a_service_that_ends_by_itself_is_told() -> None:
    records: queue.SimpleQueue[Record] = queue.SimpleQueue()
    with Shop(records.put) as running:
        running.processes["payments"].kill()
        assert records.get(timeout=DEADLINE) == {"instance": "payments", "ended": -signal.SIGKILL}


def test_a_service_that_does_not_start_stops_the_others(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shop, "WAVES", ((("users-1", "users", "USERS_1_URL"), ("x", "nothing", "X_URL")),))
    running = Shop(print)
    with pytest.raises(ShopError, match="the service x ended with code 1"), running:
        pass
    assert running.processes["users-1"].returncode == 0
    assert not running.directory.exists()
    assert "No module named pylae.demo.nothing" in capfd.readouterr().err


def test_a_service_does_not_take_a_directory_of_others(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pylae.demo.users", "--directory", str(tmp_path)]
    refused = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE)
    assert refused.returncode == 2
    assert "pylae-demo-" in refused.stderr
    assert tmp_path.is_dir()
