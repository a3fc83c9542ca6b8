"""Whoever is killed, wherever: no entry is half, none is there twice, and none that was recorded is lost."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from pylae.history.entry import Entry
from pylae.history.history import DOCUMENTS, History
from pylae.history.journal import Journal
from pylae.settings import StoreSettings
from pylae.store.engines import connected
from support.history_writer import KEEP
from support.instance import EchoInstance
from support.recorded import Recorded


def after_a_kill(folder: Path) -> list[int]:
    """What the history has once the next process has moved the rest: the numbers that were recorded."""
    with connected(StoreSettings(), folder, folder) as store:
        store.migrate()
        history = History(store)
        Journal(folder, 100).move(history, KEEP)
        found = [one for one in reversed(history.entries(limit=100)) if isinstance(one, Entry)]
        head = history.head()
        assert [one.number for one in found] == list(range(head - len(found) + 1, head + 1))
        for one in found:
            assert history.content(one.number)["number"] == int(one.reason or "")
        # What a kill has left behind is found when its turn comes.
        history.tidy(KEEP, since=head - 256)
        with store.snapshot(DOCUMENTS) as snapshot:
            kept = {pair.key.split("/")[2] for pair in snapshot.pairs}
        assert {one.digest for one in found[-KEEP:]} <= kept
        assert head >= 256 or kept <= {one.digest for one in found} | left(kept, head)
        assert not list((folder / "history").glob("[0-9]*.json"))
        assert not list((folder / "history").glob("*.damaged"))
        return [int(one.reason or "") for one in found]


def left(kept: set[str], head: int) -> set[str]:
    """Documents whose turn has not come yet."""
    return {digest for digest in kept if int(digest[:2], 16) >= head}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("every", [23, pytest.param(1, marks=pytest.mark.long)])
def test_a_process_is_killed_at_each_step(tmp_path: Path, every: int) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "support.history_writer",
            str(tmp_path),
            str(random.randrange(1, every + 1)),
            str(every),
        ],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    *killed, whole = map(json.loads, done.stdout.splitlines())
    assert whole["recorded"][-1] == 0
    assert len(killed) > 100 // every
    for told in killed:
        assert told["killed"]
        known = max(told["recorded"], default=0)
        found = after_a_kill(tmp_path / str(told["step"]))
        # The one that was on its way may be there.
        last = found[-1] if found else 0
        assert last - known in (0, 1), told
        assert found == list(range(last - len(found) + 1, last + 1)), told
        assert len(found) >= min(known, KEEP), told


@pytest.mark.timeout(300)
@pytest.mark.parametrize("tries", [2, pytest.param(20, marks=pytest.mark.long)])
def test_a_gateway_is_killed_while_it_is_changed(tmp_path: Path, echo: EchoInstance, tries: int) -> None:
    with Recorded(tmp_path, all=echo) as gateway:
        gateway.start({"services": {"all": {"connect_timeout": 1}}})
        acknowledged: list[int] = []
        value = 1
        for _ in range(tries):
            stop, killing = random.randrange(1, 12), threading.Event()

            def write(first: int, stop: int = stop, killing: threading.Event = killing) -> None:
                document: dict[str, Any] = gateway.http.get("/config").json()
                for number in range(first, first + 100):
                    document["services"]["all"]["connect_timeout"] = number
                    with suppress(httpx.HTTPError):
                        if gateway.put(document, reason=str(number)).status_code == 200:
                            acknowledged.append(number)
                            if number % 3 == 0:
                                gateway.http.get("/history")
                    if number - first >= stop:
                        killing.set()

            writer = threading.Thread(target=write, args=(value + 1,))
            writer.start()
            killing.wait()
            process = gateway.running().process
            process.kill()
            process.wait()
            writer.join()
            gateway.kill()
            gateway.start()
            value = gateway.get("/config")["services"]["all"]["connect_timeout"]
            assert value - acknowledged[-1] in (0, 1)
        found = gateway.entries()
        numbers = [int(one["reason"]) for one in found if one["how"] == "admin"]
        assert numbers == sorted(set(numbers))
        assert set(acknowledged) <= set(numbers)
        # What is in force is the latest one, whether the gateway was killed before it was recorded or after.
        assert gateway.get(f"/history/{found[-1]['number']}/diff")["count"] == 0
