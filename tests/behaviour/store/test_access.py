"""Tokens and the audit in all engines: on several nodes, while the store is away, and after a restore."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pylae.access import audit as audits
from pylae.access import audit_file
from pylae.access import tokens as places
from pylae.access.audit import AuditLog, Line
from pylae.access.table import NAME
from pylae.access.token import Token
from pylae.access.tokens import PREFIX, Bearer, ScopeError, Tokens, UnknownTokenError, unlimited
from pylae.errors import ConflictError, StoreError, StoreUnavailableError
from pylae.store.backup import back_up, restore
from pylae.store.kept import Kept
from pylae.store.store import Put
from support.peer import wait_until
from support.relay import Relay
from support.stores import SERVERS, Engine

Node = Callable[..., Tokens]

WANTED = Token("", "ci", 1, frozenset({"read"}), (), 0.0, 4e9, "admin")


class Clock:
    """A clock that is set."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


of_a_server = pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=pytest.mark.long) for name in SERVERS], indirect=True
)
"""For what only a store that is a server can do."""


@pytest.fixture
def node(engine: Engine, tmp_path: Path) -> Iterator[Node]:
    """Makes the tokens of a node with a state folder of its own; those of SQLite have the file of one folder."""
    started: list[tuple[Tokens, Kept]] = []

    def make(name: str = "a", clock: Callable[[], float] | None = None, **others: Any) -> Tokens:
        folder = tmp_path / name
        if not folder.exists():
            folder.mkdir()
            # So that it is where the gateway looks for it.
            (folder / "store.db").symlink_to(engine.folder / "store.db")
        kept = Kept(engine.given(**others), engine.folder, engine.folder)
        tokens = Tokens(kept, folder, clock) if clock else Tokens(kept, folder)
        started.append((tokens, kept))
        tokens.start()
        return tokens

    with engine.connect() as store:
        store.migrate()
    yield make
    for tokens, kept in started:
        tokens.stop()
        kept.close()


def named(name: str, **fields: Any) -> Token:
    return replace(WANTED, name=name, **fields)


def test_a_token_from_its_creation_to_its_end(node: Node) -> None:
    clock = Clock()
    tokens = node(clock=clock)
    made, secret = tokens.create(named("ci", created=clock.now, expires=clock.now + 1000), unlimited())
    found = tokens.find(secret.encode())
    assert isinstance(found, Bearer)
    assert (found.token, tokens.listed()) == (made, [made])
    assert tokens.find(secret[:-1].encode() + b"!") == "it is no token"
    other = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    assert "no secret of the token ci" in str(tokens.find(other.encode()))
    assert tokens.find(b"pylae_aaaaaaaaaaaa_" + b"a" * 43) == "there is no such token"

    _, second = tokens.rotate("ci", 10, None, unlimited())
    clock.now += 9.9
    assert isinstance(tokens.find(secret.encode()), Bearer)
    assert tokens.holds(found)
    clock.now += 0.1
    assert "not any more" in str(tokens.find(secret.encode()))
    assert not tokens.holds(found)
    assert isinstance(tokens.find(second.encode()), Bearer)

    clock.now += 2000
    assert tokens.find(second.encode()) == "the token ci has expired"
    with pytest.raises(UnknownTokenError):
        tokens.revoke("ci")
    # Its name is free again.
    _, third = tokens.create(named("ci"), unlimited())
    tokens.revoke("ci")
    assert "no secret" in str(tokens.find(third.encode()))
    with pytest.raises(UnknownTokenError):
        tokens.rotate("ci", 0, None, unlimited())


def test_secrets_are_nowhere_but_in_the_answer(node: Node, engine: Engine, tmp_path: Path) -> None:
    tokens = node()
    secrets = [tokens.create(named("ci"), unlimited())[1], tokens.rotate("ci", 60, None, unlimited())[1]]
    with engine.connect() as store, store.snapshot() as snapshot:
        stored = b"".join(pair.value for pair in snapshot.pairs)
    files = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    for secret in secrets:
        assert secret[19:].encode() not in stored + files
    assert b'"sha256"' in stored


def test_nobody_gives_what_they_do_not_have(node: Node) -> None:
    tokens = node(clock=(clock := Clock()))
    own = named("own", scopes=frozenset({"configure", "register:a"}), expires=clock.now + 1000, max_instances=5)
    made, _ = tokens.create(own, unlimited())
    giver = Bearer(made, places.Scopes(made.scopes))
    short = {"expires": clock.now + 10}
    for fields, said in (
        ({"scopes": frozenset({"operate"})}, "operate"),
        ({"scopes": frozenset({"register:b"})}, "register:b"),
        ({"scopes": frozenset({"read"}), "expires": clock.now + 1001}, "lasts longer"),
        ({"scopes": frozenset({"register:a"}), "networks": ("10.0.0.0/8",)}, "within its own"),
        ({"scopes": frozenset({"register:a"}), "max_instances": 6}, "at most 5"),
    ):
        with pytest.raises(ScopeError, match=said):
            tokens.create(named("x", **short | fields), giver)
    tokens.create(named("x", **short, scopes=frozenset({"read", "register:a"}), max_instances=5), giver)
    # What others have is not had by giving it another secret.
    tokens.create(named("operator", scopes=frozenset({"operate"}), **short), unlimited())
    with pytest.raises(ScopeError, match="operate"):
        tokens.rotate("operator", 0, None, giver)
    with pytest.raises(ScopeError, match="lasts longer"):
        tokens.rotate("own", 0, 5000.0, giver)
    clock.now += 500
    # Nor does it make itself last longer.
    rotated, _ = tokens.rotate("own", 0, None, giver)
    assert rotated.expires == made.expires
    assert [one.name for one in tokens.listed()] == ["operator", "own", "x"]


def test_networks_that_are_given_are_within_those_that_one_has(node: Node) -> None:
    tokens = node()
    wide = named("own", scopes=frozenset({"configure", "register:a"}), networks=("10.0.0.0/8", "fd00::/8"))
    giver = Bearer(tokens.create(wide, unlimited())[0], places.Scopes(wide.scopes))
    for number, networks in enumerate((("10.1.0.0/16",), ("fd00:1::/32", "10.0.0.7/32"))):
        tokens.create(named(f"in{number}", scopes=frozenset({"register:a"}), networks=networks), giver)
    for networks in ((), ("0.0.0.0/0",), ("10.1.0.0/16", "11.0.0.0/16"), ("::/0",)):
        with pytest.raises(ScopeError, match="within its own"):
            tokens.create(named("out", scopes=frozenset({"register:a"}), networks=networks), giver)


def test_there_is_a_bound(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST", 3)
    monkeypatch.setattr(places, "_MOST_KEPT", 4)
    tokens = node(clock=(clock := Clock()))
    for number in range(3):
        tokens.create(named(f"t{number}"), unlimited())
    with pytest.raises(ConflictError, match="3 tokens already"):
        tokens.create(named("t3"), unlimited())
    # Those that are over make room, the oldest first.
    for number in range(6):
        tokens.revoke("t0")
        clock.now += 1
        tokens.create(named("t0", created=clock.now), unlimited())
        assert len(tokens.listed()) <= 5, number


def test_a_name_is_given_once_whoever_asks_at_the_same_time(node: Node) -> None:
    nodes = [node("a"), node("b")]
    made: list[Token] = []
    refused: list[Exception] = []

    def create(tokens: Tokens) -> None:
        try:
            made.append(tokens.create(named("ci"), unlimited())[0])
        except ConflictError as error:
            refused.append(error)

    threads = [threading.Thread(target=create, args=(one,)) for one in nodes * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 5)
    assert nodes[0].listed() == nodes[1].listed() == made


def test_what_cannot_be_read_does_not_count_and_is_said(
    node: Node, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = node()
    made, secret = tokens.create(named("ci"), unlimited())
    with engine.connect() as store:
        store.put(f"{PREFIX}bbbbbbbbbbbb", b"{}")
        forged = json.loads(made.kept()) | {"id": "cccccccccccc", "scopes": ["everything"]}
        store.put(f"{PREFIX}cccccccccccc", json.dumps(forged).encode())
    assert tokens.listed() == [made]
    assert "its scopes cannot be used" in caplog.text
    assert isinstance(tokens.find(secret.encode()), Bearer)
    # One that is damaged is gone, until it is not.
    with engine.connect() as store:
        store.put(f"{PREFIX}{made.id}", b"nonsense")
        assert tokens.listed() == []
        assert "the store has the token ci no more" in str(tokens.find(secret.encode()))
        store.put(f"{PREFIX}{made.id}", made.kept())
    assert tokens.listed() == [made]


@of_a_server
def test_all_nodes_know_of_a_change_soon(node: Node, engine: Engine) -> None:
    assert engine.server is not None
    first, second = node("a"), node("b")
    _, secret = first.create(named("ci"), unlimited())
    wait_until(lambda: isinstance(second.find(secret.encode()), Bearer))
    found = second.find(secret.encode())
    assert isinstance(found, Bearer)
    _, rotated = second.rotate("ci", 0, None, unlimited())
    wait_until(lambda: isinstance(first.find(rotated.encode()), Bearer))
    assert isinstance(first.find(secret.encode()), str)
    first.revoke("ci")
    wait_until(lambda: isinstance(second.find(rotated.encode()), str))
    assert not second.holds(found)


@of_a_server
def test_while_the_store_is_away_tokens_are_as_they_were(node: Node, engine: Engine) -> None:
    assert engine.server is not None
    clock = Clock()
    with Relay(engine.server.port) as relay:
        near = {"port": relay.port, "timeout": 0.3}
        tokens = node("a", clock, **near)
        _, secret = tokens.create(named("ci", expires=clock.now + 100), unlimited())
        relay.cut()
        assert isinstance(tokens.find(secret.encode()), Bearer)
        for change in (
            lambda: tokens.create(named("x"), unlimited()),
            lambda: tokens.revoke("ci"),
            lambda: tokens.rotate("ci", 0, None, unlimited()),
        ):
            with pytest.raises(StoreUnavailableError):
                change()
        tokens.stop()
        # A node that starts meanwhile goes by its copy, as long as tokens last.
        again = node("a", clock, **near)
        assert isinstance(again.find(secret.encode()), Bearer)
        clock.now += 100
        assert again.find(secret.encode()) == "the token ci has expired"
        clock.now -= 100
        node("other").revoke("ci")
        assert isinstance(again.find(secret.encode()), Bearer)
        relay.mend()
        wait_until(lambda: isinstance(again.find(secret.encode()), str))


def test_a_restored_backup_brings_back_no_revoked_token(node: Node, engine: Engine, tmp_path: Path) -> None:
    tokens = node()
    secrets = {name: tokens.create(named(name), unlimited())[1] for name in ("gone", "rotated", "stays")}
    with engine.connect() as store:
        back_up(store, tmp_path / "backup")
    tokens.revoke("gone")
    secrets["new"] = tokens.rotate("rotated", 0, None, unlimited())[1]
    secrets["later"] = tokens.create(named("later"), unlimited())[1]
    tokens.stop()
    with engine.connect() as store:
        restore(store, tmp_path / "backup", replace=True)
    again = node()
    wait_until(lambda: {one.name for one in again.listed()} == {"gone", "rotated", "stays"})
    found = {name: isinstance(again.find(secret.encode()), Bearer) for name, secret in secrets.items()}
    assert found == {"gone": False, "rotated": False, "stays": True, "new": True, "later": False}
    # Who has never seen it learns it from the store.
    fresh = node("fresh")
    found = {one.name: one.revoked is not None for one in fresh.listed()}
    assert found == {"gone": True, "rotated": False, "stays": False}


def test_a_copy_that_was_killed_amid_a_change_does_not_count(node: Node, engine: Engine, tmp_path: Path) -> None:
    tokens = node(clock=(clock := Clock()))
    made, secret = tokens.create(named("ci"), unlimited())
    tokens.stop()
    copy = tmp_path / "a" / NAME
    document = json.loads(copy.read_bytes())
    assert document["current"] is True
    # Killed after the store had it, and before the copy did.
    copy.write_text(json.dumps({**document, "current": False}))
    revoked = replace(made, number=2, revoked=clock.now, secrets=())
    with engine.connect() as store:
        store.txn([], [Put(f"{PREFIX}{made.id}", revoked.kept())])
    again = node(clock=clock)
    wait_until(lambda: isinstance(again.find(secret.encode()), str))
    wait_until(lambda: json.loads(copy.read_bytes())["current"] is True)


def test_a_copy_that_cannot_be_written_refuses_a_change(
    node: Node, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = node()
    tokens.create(named("ci"), unlimited())

    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(places.table, "save", full)
    with pytest.raises(StoreError, match="No space left on device"):
        tokens.revoke("ci")
    with engine.connect() as store, store.snapshot(PREFIX) as snapshot:
        assert [json.loads(pair.value)["revoked"] for pair in snapshot.pairs] == [None]


@pytest.fixture
def kept(engine: Engine) -> Iterator[Kept]:
    with engine.connect() as store:
        store.migrate()
    kept = Kept(engine.given(), engine.folder, engine.folder)
    yield kept
    kept.close()


def line(number: int, **fields: Any) -> Line:
    given: dict[str, Any] = {
        "time": audits.now(),
        "who": "ci",
        "token": None,
        "user": None,
        "address": "127.0.0.1",
        "node": "a",
        "method": "POST",
        "path": "/cache/purge",
        "arguments": {"number": number},
        "status": 200,
        "detail": None,
    }
    return Line(**given | fields)


def numbers(log: AuditLog, most: int = 1000, **places: Any) -> list[int]:
    return [one.line["arguments"]["number"] for one in log.found(most, lambda _: True, **places)]


def test_lines_of_the_audit_are_kept_in_their_order(kept: Kept, tmp_path: Path) -> None:
    log = AuditLog(kept, tmp_path, lambda: 1000, lambda: False)
    for number in range(150):
        log.record(line(number)).result(10)
    assert numbers(log) == list(range(149, -1, -1))
    page = log.found(50, lambda _: True)
    assert numbers(log, 50, before=page[-1].id) == list(range(99, 49, -1))
    assert numbers(log, after=page[-1].id) == list(range(149, 100, -1))
    assert [one.line["arguments"]["number"] for one in log.found(9, lambda one: one["arguments"]["number"] < 2)] == [
        1,
        0,
    ]
    log.stop()
    assert log.record(line(1)).done()


def test_only_so_many_lines_are_kept(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "_TRIM_AFTER", 50)
    log = AuditLog(kept, tmp_path, lambda: 100, lambda: False)
    for _ in range(6):
        for one in [log.record(line(number)) for number in range(50)]:
            one.result(10)
        assert len(numbers(log)) <= 150
    log.stop()


@of_a_server
def test_lines_wait_in_a_file_while_the_store_is_away(engine: Engine, kept: Kept, tmp_path: Path) -> None:
    assert engine.server is not None
    with Relay(engine.server.port) as relay:
        far = Kept(engine.given(port=relay.port, timeout=0.3), engine.folder, engine.folder)
        log = AuditLog(far, tmp_path, lambda: 1000, lambda: False)
        log.record(line(0)).result(10)
        wait_until(lambda: not (tmp_path / audit_file.NAME).exists())
        relay.cut()
        for number in (1, 2):
            log.record(line(number)).result(10)
        with pytest.raises(StoreUnavailableError):
            log.found(10, lambda _: True)
        log.stop()
        # They outlive the process.
        assert len((tmp_path / audit_file.NAME).read_bytes().splitlines()) == 2
        far.close()
    again = AuditLog(kept, tmp_path, lambda: 1000, lambda: False)
    again.start()
    wait_until(lambda: not (tmp_path / audit_file.NAME).exists())
    assert numbers(again) == [2, 1, 0]
    again.stop()


def test_a_line_that_was_put_already_is_not_put_twice(kept: Kept, tmp_path: Path) -> None:
    log = AuditLog(kept, tmp_path, lambda: 1000, lambda: False)
    log.record(line(0)).result(10)
    before = (tmp_path / audit_file.NAME).read_bytes() if (tmp_path / audit_file.NAME).exists() else b""
    assert numbers(log) == [0]
    (tmp_path / audit_file.NAME).write_bytes(before)
    assert numbers(log) == [0]
    log.stop()


def test_what_has_no_room_is_in_the_log(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit_file, "MOST", 10)
    log = AuditLog(kept, tmp_path, lambda: 1000, lambda: False)
    log.record(line(7)).result(10)
    assert "is full" in caplog.text
    assert '"number": 7' in caplog.text
    monkeypatch.setattr(audit_file, "MOST", 10**6)
    (tmp_path / audit_file.NAME).unlink(missing_ok=True)
    (tmp_path / audit_file.NAME).mkdir()
    log.record(line(8)).result(10)
    assert '"number": 8' in caplog.text
    log.stop()


def test_the_same_refusal_over_and_over_is_one_line(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(kept, tmp_path, lambda: 1000, lambda: False)
    refused = {"status": 409, "detail": "the service is full"}
    for _ in range(50):
        log.record(line(0, **refused)).result(10)
    log.record(line(1, **refused)).result(10)
    log.record(line(0)).result(10)
    assert numbers(log) == [0, 1, 0]
    log.stop()
    # What was counted is said, at the latest in the end.
    again = AuditLog(kept, tmp_path, lambda: 1000, lambda: False)
    said = [(one.line["arguments"]["number"], one.line["times"]) for one in again.found(9, lambda _: True)]
    assert said == [(0, 49), (0, 1), (1, 1), (0, 1)]
    monkeypatch.setattr(audits, "SAME", 0.0)
    for number in range(2):
        again.record(line(number, **refused)).result(10)
        again.record(line(number, **refused)).result(10)
    assert numbers(again)[:4] == [1, 1, 0, 0]
    again.stop()


def test_what_is_no_line_is_left_out(engine: Engine, kept: Kept, tmp_path: Path) -> None:
    log = AuditLog(kept, tmp_path, lambda: 1000, lambda: False)
    log.record(line(0)).result(10)
    with engine.connect() as store:
        for number, value in enumerate(
            (b"", b"7", b"{}", b"[" * 5000, b'{"version": 2}', b'{"version": 1, "time": 7}')
        ):
            store.put(f"audit/3000-{number}", value)
    assert numbers(log) == [0]
    log.stop()
