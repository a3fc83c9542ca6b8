"""A node's memory of tokens, while the store goes back in time and tokens come and go."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pylae.access import table
from pylae.access.table import Copy, Remembered, Table, living, load, merged, outdate, save
from pylae.access.token import Hashed, Token, hashed

NOW = 1_800_000_000.0
IDS = ("aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc")


def token(token_id: str, number: int = 1, *, revoked: bool = False, expires: float = NOW + 1000) -> Token:
    secrets = () if revoked else (Hashed(hashed(f"{token_id}{number}")),)
    at = NOW if revoked else None
    return Token(token_id, f"t{token_id[0]}", number, frozenset({"read"}), secrets, NOW, expires, "admin", revoked=at)


def valid(known: Table, now: float = NOW) -> set[str]:
    return {one.id for one in living(known, now)}


def test_a_revoked_token_does_not_come_back_with_a_backup() -> None:
    known, back = merged({}, [token(IDS[0], 2, revoked=True)], NOW)
    known, back = merged(known, [token(IDS[0])], NOW)
    assert valid(known) == set()
    assert [one.revoked for one in back] == [NOW]


def test_a_secret_that_was_rotated_away_does_not_come_back() -> None:
    known, _ = merged({}, [token(IDS[0], 2)], NOW)
    # The restore removes everything first.
    known, back = merged(known, [], NOW)
    assert (valid(known), back) == (set(), [])
    known, back = merged(known, [token(IDS[0], 1)], NOW)
    assert back == [token(IDS[0], 2)]
    assert known[IDS[0]].token == token(IDS[0], 2)


def test_a_restored_token_is_there_and_a_later_one_is_not() -> None:
    known, _ = merged({}, [token(IDS[1])], NOW)
    known, back = merged(known, [token(IDS[0])], NOW)
    assert (valid(known), back) == ({IDS[0]}, [])


def test_what_has_expired_is_forgotten() -> None:
    known, _ = merged({}, [token(IDS[0], expires=NOW + 1)], NOW)
    assert merged(known, [], NOW + 1) == ({}, [])


def test_no_more_is_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MOST_REMEMBERED", 2)
    known, _ = merged({}, [token(IDS[0], expires=NOW + 10)], NOW)
    known, _ = merged(known, [token(IDS[1], expires=NOW + 1), token(IDS[2], expires=NOW + 2)], NOW)
    assert set(known) == {IDS[1], IDS[2]}


class Restores(RuleBasedStateMachine):
    """A store that is changed, backed up and restored, and a node that looks at it now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.store: dict[str, Token] = {}
        self.backups: list[dict[str, Token]] = [{}]
        self.known: Table = {}
        self.seen_revoked: set[str] = set()
        self.seen_number: dict[str, int] = {}

    @rule(token_id=st.sampled_from(IDS))
    def create_or_rotate(self, token_id: str) -> None:
        one = self.store.get(token_id)
        if one is None:
            # Ids are random: one that was ever used is not used again.
            if token_id not in self.known and not any(token_id in backup for backup in self.backups):
                self.store[token_id] = token(token_id)
        elif one.revoked is None:
            self.store[token_id] = token(token_id, one.number + 1)

    @rule(token_id=st.sampled_from(IDS))
    def revoke(self, token_id: str) -> None:
        if (one := self.store.get(token_id)) and one.revoked is None:
            self.store[token_id] = token(token_id, one.number + 1, revoked=True)

    @rule()
    def back_up(self) -> None:
        self.backups.append(dict(self.store))

    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        self.store = dict(data.draw(st.sampled_from(self.backups)))

    @rule(again=st.booleans())
    def look(self, again: bool) -> None:
        for _ in range(1 + again):
            self.known, back = merged(self.known, list(self.store.values()), NOW)
            for one in back:
                self.store[one.id] = one
        self.seen_revoked |= {one.token.id for one in self.known.values() if one.token.revoked is not None}
        assert valid(self.known) == {one.id for one in self.store.values() if one.revoked is None}
        for token_id, one in self.known.items():
            assert one.token.number >= self.seen_number.get(token_id, 0)
            self.seen_number[token_id] = one.token.number

    @invariant()
    def what_was_seen_revoked_is_never_valid(self) -> None:
        assert valid(self.known).isdisjoint(self.seen_revoked)


TestRestores = Restores.TestCase


def _table(tokens: Iterable[tuple[Token, bool]]) -> Table:
    return {one.id: Remembered(one, stored) for one, stored in tokens}


def test_the_copy(tmp_path: Path) -> None:
    known = _table([(token(IDS[0]), True), (token(IDS[1], 3, revoked=True), False)])
    assert load(tmp_path, "sqlite") == Copy({}, current=False)
    save(tmp_path, "sqlite", known, current=True)
    assert load(tmp_path, "sqlite") == Copy(known, current=True)
    assert stat.S_IMODE((tmp_path / table.NAME).stat().st_mode) == 0o600
    # Of another store it says nothing.
    assert load(tmp_path, "etcd://127.0.0.1:2379/pylae") == Copy({}, current=False)
    outdate(tmp_path)
    assert load(tmp_path, "sqlite") == Copy(known, current=False)
    (tmp_path / table.NAME).unlink()
    outdate(tmp_path)
    assert not (tmp_path / table.NAME).exists()


@given(st.binary(max_size=300))
def test_a_damaged_copy_is_none(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / table.NAME
        file.write_bytes(data)
        assert load(Path(folder), "sqlite") == Copy({}, current=False)
        outdate(Path(folder))


def test_a_copy_with_a_token_that_cannot_be_used_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, "sqlite", _table([(token(IDS[0]), True)]), current=True)
    document = json.loads((tmp_path / table.NAME).read_bytes())
    for wrong in ({"scopes": ["all"]}, {"id": 7}, {"secrets": [{}]}):
        changed = {"token": {**document["tokens"][0]["token"], **wrong}, "stored": True}
        (tmp_path / table.NAME).write_text(json.dumps({**document, "tokens": [changed]}))
        assert load(tmp_path, "sqlite") == Copy({}, current=False)
    assert "the store counts" in caplog.text
    assert replace(token(IDS[0]), name="x") != token(IDS[0])
