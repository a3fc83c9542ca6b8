"""A long history, and one of large configurations."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from pylae.history.content import pack
from pylae.history.entry import Cause, Entry
from pylae.history.history import DOCUMENTS, History
from pylae.history.journal import Journal
from pylae.settings import StoreSettings
from pylae.store.engines import connected
from support.instance import EchoInstance
from support.recorded import Recorded


@pytest.mark.timeout(300)
def test_a_thousand_entries(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 1000)
    for number in range(1003):
        journal.add(pack({"number": number}), Cause("admin", "ada", str(number)))
    with connected(StoreSettings(), tmp_path, tmp_path) as store:
        store.migrate()
        history = History(store)
        journal.move(history, 1000)
        assert history.head() == 1000
        # The journal had no more.
        assert history.content(1) == {"number": 3}
        for number in range(5):
            history.append({"number": number}, Cause("admin", "ada"))
        history.tidy(1000)
        found: list[Entry] = []
        while page := history.entries(found[-1].number if found else None, 100):
            found += [one for one in page if isinstance(one, Entry)]
        assert [one.number for one in found] == list(range(1005, 5, -1))
        with store.snapshot(DOCUMENTS) as snapshot:
            kept = {pair.key.split("/")[2] for pair in snapshot.pairs}
        assert kept == {one.digest for one in found}


@pytest.mark.timeout(300)
def test_a_configuration_of_five_megabytes(tmp_path: Path, echo: EchoInstance) -> None:
    def page(number: int) -> dict[str, Any]:
        # Nothing that can be compressed to less than a part.
        body = random.Random(number).randbytes(50_000).hex()
        answer = {"static_response": {"body": body}}
        return {"name": f"r{number}", "path": f"/{number}", "auth_required": False, **answer}

    with Recorded(tmp_path, all=echo) as gateway:
        gateway.start({"routes": [page(number) for number in range(50)]})
        gateway.change(lambda it: it["routes"].pop())
        assert [(one["how"], one["count"]) for one in gateway.entries()] == [("start", 6), ("admin", 1)]
        document = gateway.get("/history/1/config")
        assert document["routes"][49]["static_response"]["body"] == page(49)["static_response"]["body"]
        (change,) = gateway.get("/history/2")["changes"]
        assert change["path"] == "routes.r49"
        assert change["cut"]
        assert gateway.roll_back(1).status_code == 200
        assert gateway.get("/config") == document
        assert gateway.how() == ["start", "admin", "rollback"]
        with connected(StoreSettings(), gateway.state, tmp_path) as store, store.snapshot(DOCUMENTS) as snapshot:
            # The same content is there once.
            digests = {pair.key.split("/")[2] for pair in snapshot.pairs}
        assert len(digests) == 2
