"""What the store has of a session, and what is in its cookie."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylae.engine import NativeSealer
from pylae.identity.ended import PREFIX, EndedSessions
from pylae.identity.login import session as sessions
from pylae.identity.login.failures import IdentityError
from pylae.identity.login.records import Records
from pylae.identity.login.session import MOST_COOKIE, Member, Session
from pylae.store.kept import Kept
from pylae.store.store import Lease

SEALER = NativeSealer([b"a secret of thirty-two bytes, at least"])
COOKIE = "__Host-pylae-oidc"
ISSUER = "https://login.example"


def made(records: Records | None = None, **changed: Any) -> Session:
    """A session that has just begun. With `records` it is in their store."""
    now = int(time.time())
    session = Session(
        id=sessions.new_id(),
        member=Member("ada", "ada@example.com", "admin", ("a", "b"), {"plan": "gold"}),
        issuer=ISSUER,
        subject="subject of ada",
        sid="at the provider",
        begun=now,
        ends=now + 1000,
        seen=now,
        refresh="refresh token",
        due=now + 500,
        renewals=0,
        hint="a.b.c",
        lease=records.lease(1000, 100) if records else Lease(1, 1060),
    )
    session = replace(session, **changed)
    if records:
        records.begin(session)
    return session


def test_ids_are_random() -> None:
    assert len({sessions.new_id() for _ in range(1000)}) == 1000
    assert all(len(sessions.new_id()) == 22 for _ in range(100))


def test_it_is_read_as_it_was_stored() -> None:
    session = made()
    assert sessions.read(session.stored(), session.id) == session
    with pytest.raises(ValueError, match="another session"):
        sessions.read(session.stored(), sessions.new_id())


@pytest.mark.parametrize("data", [b"", b"1", b"[]", b"{}", b'{"v": 1}', b"[" * 100_000, b'{"v": 1, "id": "a", "x": 1}'])
def test_what_is_no_session(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no session|Expecting|another"):
        sessions.read(data, "a")


def test_a_session_has_a_bound() -> None:
    with pytest.raises(IdentityError, match="session_too_large"):
        made(refresh="a" * 65_536).stored()


TEXTS = st.text(max_size=200)


@given(TEXTS, TEXTS, TEXTS, st.lists(TEXTS, max_size=20), st.dictionaries(TEXTS, TEXTS, max_size=10))
@settings(deadline=None)
def test_a_cookie_has_a_bound_and_holds_all_or_nothing(
    name: str, email: str, role: str, permissions: list[str], claims: dict[str, str]
) -> None:
    member = Member(name, email, role, tuple(permissions), claims)
    session = made(member=member)
    value = sessions.sealed(session, session.begun + 60, COOKIE, SEALER, "oidc")
    assert len(f"{COOKIE}={value}") <= MOST_COOKIE
    shown = sessions.opened(value, SEALER, "oidc")
    assert shown
    assert shown.member in (member, None)
    assert (shown.id, shown.begun, shown.ends, shown.check) == (
        session.id,
        session.begun,
        session.ends,
        session.begun + 60,
    )
    plain = json.loads(SEALER.open("session oidc", value) or b"")
    assert plain.get("f", False) is (shown.member is None)


def test_a_small_user_is_in_the_cookie() -> None:
    session = made()
    shown = sessions.opened(sessions.sealed(session, 1, COOKIE, SEALER, "oidc"), SEALER, "oidc")
    assert shown
    assert shown.member == session.member


def test_a_cookie_of_others_is_none() -> None:
    value = sessions.sealed(made(), 1, COOKIE, SEALER, "oidc")
    assert sessions.opened(value, SEALER, "other") is None
    assert sessions.opened(value[:-2], SEALER, "oidc") is None
    assert sessions.opened(SEALER.seal("attempt oidc", b"{}"), SEALER, "oidc") is None
    for plain in (b"[]", b"{}", b"1", b'{"i": "a"}', b"\xff"):
        assert sessions.opened(SEALER.seal("session oidc", plain), SEALER, "oidc") is None


@pytest.mark.parametrize(("idle", "step"), [(3600, 900), (240, 60), (120, 60), (60, 30), (2, 1), (0.5, 1)])
def test_use_is_noted_in_steps(idle: float, step: float) -> None:
    assert sessions.step(idle) == step


def test_when_it_is_looked_up_again() -> None:
    session = made(due=None)
    assert session.check(240) == session.seen + 60
    assert replace(session, due=session.seen + 10).check(240) == session.seen + 10
    assert replace(session, ends=session.seen + 20).check(240) == session.seen + 20
    assert not session.is_idle(session.seen + 240, 240)
    assert session.is_idle(session.seen + 240.5, 240)


def test_records(records: Records, kept: Kept) -> None:
    session = made(records)
    found = records.read(session.id)
    assert found
    assert found.session == session
    secrets = [pair.value for pair in kept.opened().range("").pairs]
    assert not any(b"refresh" in value or b"ada" in value for value in secrets)
    changed = replace(session, refresh="another", renewals=1)
    revision = records.write(changed, found.revision)
    assert revision
    assert records.write(session, found.revision) is None
    again = records.read(session.id)
    assert again
    assert (again.session, again.revision) == (changed, revision)


def test_sessions_are_found_by_what_the_provider_calls_them(records: Records, kept: Kept, sealer: NativeSealer) -> None:
    first, second = made(records), made(records, sid="another/../*")
    made(records, subject="grace", sid=None)
    assert [one.id for one in records.of_sid("at the provider")] == [first.id]
    assert [one.id for one in records.of_sid("another/../*")] == [second.id]
    assert {one.id for one in records.of_subject("subject of ada")} == {first.id, second.id}
    assert list(records.of_subject("nobody")) == []
    assert list(Records(kept, sealer, "other").of_subject("grace")) == []


def test_an_ended_session_leaves_nothing_but_that_it_has_ended(records: Records, kept: Kept) -> None:
    session = made(records)
    found = records.read(session.id)
    assert found
    records.end(session, time.time())
    assert records.read(session.id) is None
    assert records.write(session, found.revision) is None
    assert not records.extend(replace(session, ends=session.ends + 10_000))
    (left,) = kept.opened().range("").pairs
    assert left.key == f"{PREFIX}{session.id}"
    assert left.leased
    records.end(session, time.time())


def test_a_record_of_another_secret_or_another_session_counts_for_nothing(records: Records, kept: Kept) -> None:
    session, other = made(records), made(records)
    store = kept.opened()
    pair = store.get(f"sessions/oidc/{session.id}")
    assert pair
    store.put(f"sessions/oidc/{other.id}", pair.value)
    assert records.read(other.id) is None
    store.put(f"sessions/oidc/{session.id}", b"\xffnothing")
    assert records.read(session.id) is None
    assert Records(kept, NativeSealer([b"another secret of thirty-two bytes, too"]), "oidc").read(session.id) is None


def test_only_sessions_that_may_outlive_their_lease_extend_it(records: Records, kept: Kept) -> None:
    short = made(records)
    assert short.lease.ttl == 1060
    now = int(time.time())
    month = 30 * 24 * 3600
    long = made(records, ends=now + month, lease=records.lease(month, 3600))
    assert long.lease.ttl == 24 * 3600 + 60
    assert records.extend(short)
    assert records.extend(long)
    kept.opened().revoke(long.lease)
    assert not records.extend(long)
    assert records.read(long.id) is None


def test_a_node_holds_a_session(records: Records) -> None:
    hold = records.hold("a" * 22, "node")
    assert hold
    assert records.hold("a" * 22, "other") is None
    records.release(hold)
    assert records.hold("a" * 22, "other")


def test_a_logout_is_told_once(records: Records) -> None:
    assert not records.has_told("any text / at all")
    records.tell("any text / at all", 100)
    assert records.has_told("any text / at all")
    records.tell("over", -100)


def test_what_had_ended_before_the_start_is_refused(records: Records, kept: Kept) -> None:
    session = made(records)
    records.end(session, time.time())
    store = kept.opened()
    for name, value in (
        ("short", b'{"x": 9999999999}'),
        ("a" * 22, b"{}"),
        ("b" * 22, b"[1]"),
        ("c" * 22, b'{"x": true}'),
    ):
        store.put(f"{PREFIX}{name}", value)
    store.put(f"{PREFIX}{'d' * 22}", b'{"x": 1}')
    told: list[tuple[str, str, float]] = []
    ended = EndedSessions(kept, lambda *revoked: told.append(revoked))
    ended.start()
    assert ended._thread is None
    ended.want()
    ended.start()
    assert ended._thread
    ended._thread.join(30)
    ((kind, value, seconds),) = told
    assert (kind, value) == ("jti", session.id)
    assert 900 < seconds <= 1000
    ended.refuse(session.id, session.ends)
    assert len(told) == 1
    ended.stop()


def test_a_session_that_nobody_uses_leaves_nothing(records: Records, kept: Kept) -> None:
    records.forget(made(records))
    assert kept.opened().range("").pairs == ()
