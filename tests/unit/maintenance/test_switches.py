from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from pylae.errors import StoreError
from pylae.maintenance import switches as module
from pylae.maintenance.switch import PREFIX, Scope, Switch
from pylae.maintenance.switches import Switches, TooManyError
from pylae.store.kept import Kept
from pylae.store.store import KeyValue, Page


class SharedStore:
    """A store that is shared, in memory, and can be away."""

    shared = True
    where = "a store"

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.away = False

    def opened(self) -> SharedStore:
        if self.away:
            raise StoreError("it is away")
        return self

    def put(self, key: str, value: bytes) -> int:
        self.values[key] = value
        return 1

    def delete(self, key: str) -> int:
        self.values.pop(key, None)
        return 1

    def range(self, prefix: str, *, after: str | None = None) -> Page:
        assert prefix == PREFIX
        keys = sorted(key for key in self.values if key > (after or ""))
        page = tuple(KeyValue(key, self.values[key], 1) for key in keys[:2])
        return Page(page, 1, len(keys) > 2)


class Own:
    """A gateway of its own. It must not open its store for this."""

    shared = False


def made(folder: Path, kept: object = None) -> tuple[Switches, list[Mapping[str, Any]]]:
    """Switches of a gateway, and the documents that the engine was given."""
    put: list[Mapping[str, Any]] = []
    return Switches(folder, cast("Kept", kept or Own()), put.append), put


def switch(scope: Scope, name: str = "", text: str = "shut") -> Switch:
    return Switch(scope, name, text, 60, "2026-01-01T00:00:00+00:00", "somebody")


def test_a_gateway_of_its_own_keeps_them_in_a_file(tmp_path: Path) -> None:
    switches, put = made(tmp_path / "state")
    switches.resume()
    assert switches.document() == {"gateway": None, "services": {}, "routes": {}}
    assert switches.switch(switch("route", "b"))
    assert switches.switch(switch("service", "z"))
    assert switches.switch(switch("route", "a"))
    assert switches.switch(switch("gateway"))
    assert not switches.switch(switch("gateway"))
    assert switches.switch(switch("gateway", text="shut for good"))
    assert [one.place for one in switches.listed()] == [
        ("gateway", ""), ("service", "z"), ("route", "a"), ("route", "b")
    ]  # fmt: skip
    told = {"text": "shut", "retry_after": 60}
    assert put[-1] == {
        "gateway": {"text": "shut for good", "retry_after": 60},
        "services": {"z": told},
        "routes": {"a": told, "b": told},
    }
    again, _ = made(tmp_path / "state")
    again.resume()
    assert again.listed() == switches.listed()
    assert switches.end("route", "a")
    assert not switches.end("route", "a")
    assert put[-1]["routes"] == {"b": told}
    # Nothing is followed.
    switches.follow()
    switches.stop()


def test_a_file_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    switches, put = made(tmp_path)
    (tmp_path / "maintenance.json").mkdir()
    with pytest.raises(OSError):
        switches.switch(switch("gateway"))
    assert (switches.listed(), put) == ([], [])


def test_there_is_a_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    switches, _ = made(tmp_path)
    switches.switch(switch("route", "a"))
    switches.switch(switch("route", "b"))
    with pytest.raises(TooManyError):
        switches.switch(switch("route", "c"))
    assert switches.switch(switch("route", "b", "other words"))
    switches.end("route", "a")
    assert switches.switch(switch("route", "c"))


def test_those_who_share_a_store_see_the_same(tmp_path: Path) -> None:
    store = SharedStore()
    (one, put_one), (other, put_other) = made(tmp_path / "one", store), made(tmp_path / "other", store)
    for number in range(5):
        one.switch(switch("route", f"r{number}"))
    other.look()
    assert other.listed() == one.listed()
    assert put_other == put_one[-1:]
    other.look()
    assert len(put_other) == 1, "what has not changed is not put in force again"
    # What another one has switched is ended here too, whether it was seen or not.
    one.switch(switch("gateway"))
    assert not other.end("gateway", "")
    one.look()
    assert one.listed() == other.listed()


def test_a_store_that_is_away_leaves_everything_as_it_was(tmp_path: Path) -> None:
    store = SharedStore()
    switches, put = made(tmp_path, store)
    switches.switch(switch("gateway"))
    store.away = True
    for change in (lambda: switches.end("gateway", ""), lambda: switches.switch(switch("route", "a"))):
        with pytest.raises(StoreError):
            change()
    with pytest.raises(StoreError):
        switches.look()
    assert [one.place for one in switches.listed()] == [("gateway", "")]
    assert len(put) == 1
    # What was known last is there after a restart without the store.
    again, _ = made(tmp_path, store)
    again.resume()
    assert again.listed() == switches.listed()


def test_a_file_that_cannot_be_written_is_no_hindrance_with_a_shared_store(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    switches, put = made(tmp_path, SharedStore())
    (tmp_path / "maintenance.json").mkdir()
    assert switches.switch(switch("gateway"))
    assert put
    assert "cannot be written" in caplog.text
