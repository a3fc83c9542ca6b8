"""The history in a store, in all engines."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from pylae.errors import ConflictError, NoEntryError, StoreError
from pylae.history.content import PART
from pylae.history.entry import MOST_CHANGES, Cause, Damaged, Entry
from pylae.history.history import DOCUMENTS, ENTRIES, HEAD, History
from pylae.store.store import Compare, Put, Store
from support.stores import Engine

BY = Cause("admin", "ada", "a reason")


def document(number: int) -> Any:
    """A configuration that no other number has."""
    return {"services": {"users": {"instances": ["http://10.0.0.1:9001"], "timeout": number}}}


def large() -> Any:
    """A configuration that takes several parts."""
    return {"routes": [{"name": f"r{n}", "path": random.Random(n).randbytes(200).hex()} for n in range(8000)]}


def keys(store: Store, prefix: str) -> list[str]:
    with store.snapshot(prefix) as snapshot:
        return [pair.key for pair in snapshot.pairs]


def test_entries_follow_each_other(store: Store) -> None:
    history = History(store)
    assert history.head() == 0
    assert history.entries() == []
    made = [history.append(document(n), BY) for n in (1, 2, 1)]
    assert [entry.number for entry in made] == [1, 2, 3]
    assert history.head() == 3
    assert [history.entry(n) for n in (1, 2, 3)] == made
    assert history.entries() == made[::-1]
    assert history.entries(before=3, limit=1) == [made[1]]
    assert [history.content(n) for n in (1, 2, 3)] == [document(1), document(2), document(1)]
    assert made[1].count == 1
    assert made[1].changes[0].model_dump() == {
        "path": "services.users.timeout",
        "before": 1,
        "after": 2,
        "cut": False,
    }
    # The same content is there once.
    assert made[0].digest == made[2].digest
    assert len(keys(store, DOCUMENTS)) == 2
    with pytest.raises(NoEntryError, match=r"no entry 4 .* latest one is 3"):
        history.entry(4)


def test_a_large_configuration_has_parts(store: Store) -> None:
    history = History(store)
    history.append(large(), BY)
    assert len(keys(store, DOCUMENTS)) > 2
    assert history.content(1) == large()
    second = history.append({}, BY)
    assert second.changes[0].cut
    assert history.append(large(), BY).digest == history.entry(1).digest


def test_long_lists_of_changes_are_cut(store: Store) -> None:
    history = History(store)
    history.append({"services": {}}, BY)
    many = {"services": {f"s{n}": {"timeout": n, "text": "x" * 5000} for n in range(1000)}}
    entry = history.append(many, BY)
    assert entry.count == 1000
    assert len(entry.changes) == MOST_CHANGES
    assert history.entry(2) == entry


def test_no_two_writers_get_the_same_number(engine: Engine) -> None:
    with engine.connect() as store:
        store.migrate()
    made: list[Entry] = []

    def write(writer: int) -> None:
        with engine.connect() as store:
            made.extend(History(store).append(document(100 * writer + n), BY) for n in range(5))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entry.number for entry in made) == list(range(1, 21))
    with engine.connect() as store:
        history = History(store)
        assert sorted(made, key=lambda entry: -entry.number) == history.entries(limit=100)
        for entry in made[1:]:
            # Each says what differs from the one before, whoever wrote that.
            before = history.content(entry.number - 1) if entry.number > 1 else {}
            if before:
                assert entry.changes[0].before == before["services"]["users"]["timeout"]


def test_a_writer_can_ask_for_more(store: Store) -> None:
    history = History(store)
    history.append(document(1), BY, expected=0)
    with pytest.raises(ConflictError, match="entry 1 is the latest"):
        history.append(document(2), BY, expected=0)
    held = store.put("fleet/coordinator", b"me")
    assert held is not None
    history.append(document(2), BY, compares=[Compare("fleet/coordinator", held)], operations=[Put("fleet/x", b"y")])
    assert store.get("fleet/x") is not None
    with pytest.raises(ConflictError, match="fleet/coordinator"):
        history.append(document(3), BY, compares=[Compare("fleet/coordinator", held - 1)])
    assert history.head() == 2


def test_only_the_latest_are_kept(store: Store) -> None:
    history = History(store)
    for number in range(1, 31):
        history.append(document(number % 10), BY)
    history.tidy(5, named=[3])
    assert [one.number for one in history.entries() if isinstance(one, Entry)] == [30, 29, 28, 27, 26, 3]
    assert [one.number for one in history.entries(before=27, limit=10) if isinstance(one, Entry)] == [26, 3]
    used = {one.digest for one in history.entries() if isinstance(one, Entry)}
    assert {key.split("/")[2] for key in keys(store, DOCUMENTS)} == used
    with pytest.raises(NoEntryError, match="not kept any more"):
        history.entry(25)
    history.tidy(1)
    assert [one.number for one in history.entries() if isinstance(one, Entry)] == [30]


def test_documents_that_were_left_behind_go(store: Store) -> None:
    history = History(store)
    left = "00" + "5" * 62
    store.put(f"{DOCUMENTS}{left}/0001", b"x")
    store.put(f"{DOCUMENTS}{'ff' + '5' * 62}/0000", b"x")
    history.append(document(1), BY)
    history.tidy(1000)
    assert f"{DOCUMENTS}{left}/0001" not in keys(store, DOCUMENTS)
    for number in range(256):
        since = history.head()
        history.append(document(number), BY)
        history.tidy(1000, since=since) if number % 50 == 0 or number == 255 else None
    history.tidy(1000)
    assert {key.split("/")[2] for key in keys(store, DOCUMENTS)} == {
        one.digest for page in (None, 158, 58) for one in history.entries(page, 100) if isinstance(one, Entry)
    }


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", "number: Field required"),
        (b'{"version": 2}', "a form that this version of Pylae does not know"),
        (b'{"version": 1, "number": "1"}', "id: Field required"),
    ],
)
def test_damage_is_told_apart(store: Store, value: bytes, why: str) -> None:
    history = History(store)
    for number in range(3):
        history.append(document(number), BY)
    store.put(f"{ENTRIES}0000000002", value)
    found = history.entries()
    assert [type(one) for one in found] == [Entry, Damaged, Entry]
    assert [one.number for one in found] == [3, 2, 1]
    with pytest.raises(StoreError, match=why):
        history.entry(2)
    store.put(f"{ENTRIES}0000000003", value)
    entry = history.append(document(7), BY)
    assert entry.count is None
    assert entry.number == 4


def test_a_damaged_document_is_told_apart_and_repaired(store: Store) -> None:
    history = History(store)
    entry = history.append(large(), BY)
    part = f"{DOCUMENTS}{entry.digest}/0001"
    kept = store.get(part)
    assert kept is not None
    for value in (b"", b"{}", kept.value[: len(kept.value) // 2], kept.value.replace(b'"data": "', b'"data": "AAAA')):
        store.put(part, value)
        with pytest.raises(StoreError, match=r"entry 1 .* is damaged: its document cannot be used"):
            history.content(1)
    store.delete(part)
    with pytest.raises(StoreError, match="part 1 is missing"):
        history.content(1)
    assert PART > 0
    history.append(large(), BY)
    assert history.content(1) == large()


def test_a_damaged_head_is_told(store: Store) -> None:
    history = History(store)
    for value in (b"", b"7", b'{"version": 1, "number": -1}', b'{"version": 9, "number": 1}'):
        store.put(HEAD, value)
        with pytest.raises(StoreError, match="does not say which entry is the latest"):
            history.append(document(1), BY)
