"""Refreshes of sessions by several nodes, with a provider that takes each refresh token once."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pylae.engine import NativeSealer
from pylae.errors import StoreUnavailableError
from pylae.identity.ended import EndedSessions
from pylae.identity.login import refresh
from pylae.identity.login import session as sessions
from pylae.identity.login import sessions as sessions_of_login
from pylae.identity.login.failures import IdentityError, ProviderError
from pylae.identity.login.members import Members
from pylae.identity.login.records import Found, Records
from pylae.identity.login.refresh import Refreshed, Refresher
from pylae.identity.login.session import Member, Session
from pylae.identity.login.sessions import Sessions
from pylae.identity.surroundings import Surroundings
from pylae.registry.client import Reply
from pylae.settings import Oidc
from pylae.store.kept import Kept

SETTINGS = Oidc(issuer="http://127.0.0.1:1", client_id="a", refresh_ahead="1s")


class Rotating:
    """A provider that gives another refresh token for each one, once. It stands in for `Provider`."""

    def __init__(self) -> None:
        self.good = "token 0"
        self.asked: list[str] = []
        self.arrived, self.answers = asyncio.Event(), asyncio.Event()
        self.answers.set()
        self.failing = False
        self.claims_now: dict[str, Any] = {}

    async def metadata(self) -> Any:
        return type("Metadata", (), {"token": "http://127.0.0.1:1/token", "userinfo": None})

    async def form(self, _reason: str, _url: str, sent: list[tuple[str, str]]) -> Reply:
        token = dict(sent)["refresh_token"]
        self.asked.append(token)
        self.arrived.set()
        await self.answers.wait()
        if self.failing:
            raise ProviderError("refresh_failed")
        if token != self.good:
            return reply({"error": "invalid_grant"}, 400)
        self.good = f"token {len(self.asked)}"
        given = {"access_token": "a", "token_type": "Bearer", "expires_in": 3600, "refresh_token": self.good}
        return reply({**given, **({"id_token": "i"} if self.claims_now else {})})

    async def claims(self, _token: str) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"alg": "RS256"}, {"aud": "a", "iat": 0, **self.claims_now}


def reply(document: dict[str, Any], status: int = 200) -> Reply:
    fields = http.client.HTTPMessage()
    fields["Content-Type"] = "application/json"
    return Reply(status, fields, json.dumps(document).encode())


class Nodes:
    """Two nodes with one store."""

    def __init__(self, kept: Kept, sealer: NativeSealer, folder: Path) -> None:
        self.records = Records(kept, sealer, "oidc")
        self.provider = Rotating()
        self.ended: list[str] = []
        self.failures: list[str] = []
        found = [self._node(kept, folder) for _ in range(2)]
        self.one, self.other = (refresher for refresher, _ in found)
        self.sessions, self.other_sessions = (sessions for _, sessions in found)

    def _node(self, kept: Kept, folder: Path) -> tuple[Refresher, Sessions]:
        provider: Any = self.provider
        members = Members(SETTINGS, provider)
        revoke = lambda _kind, value, _seconds: self.ended.append(value)  # noqa: E731
        surroundings = Surroundings(kept, folder, revoke, EndedSessions(kept, revoke))
        note = lambda error: self.failures.append(error.reason)  # noqa: E731
        refresher = Refresher(SETTINGS, provider, self.records, members, note)
        return refresher, Sessions(SETTINGS, provider, self.records, members, surroundings)

    def begin(self, **changed: Any) -> Found:
        """A session that is due."""
        now = int(time.time())
        session = Session(
            id=sessions.new_id(),
            member=Member("ada"),
            issuer=SETTINGS.issuer,
            subject="ada",
            sid=None,
            begun=now,
            ends=now + 1000,
            seen=now,
            refresh="token 0",
            due=now,
            renewals=0,
            hint=None,
            lease=self.records.lease(1000, 100),
        )
        self.records.begin(replace(session, **changed))
        return self.read(session.id)

    def read(self, session_id: str) -> Found:
        found = self.records.read(session_id)
        assert found
        return found


@pytest.fixture
def nodes(kept: Kept, sealer: NativeSealer, tmp_path: Path) -> Callable[[], Nodes]:
    return lambda: Nodes(kept, sealer, tmp_path)


def run(test: Callable[[Nodes], Coroutine[Any, Any, None]], nodes: Callable[[], Nodes]) -> None:
    async def begin() -> None:
        await test(nodes())

    asyncio.run(begin())


def test_all_nodes_refresh_a_session_once(nodes: Callable[[], Nodes]) -> None:
    async def test(both: Nodes) -> None:
        found = both.begin()
        both.provider.answers.clear()
        checks = [one.check(found.session.id) for one in (both.sessions, both.other_sessions) for _ in range(25)]
        waiting = [asyncio.create_task(check) for check in checks]
        await both.provider.arrived.wait()
        both.provider.answers.set()
        checked = [one for one in await asyncio.gather(*waiting) if one]
        assert both.provider.asked == ["token 0"]
        assert [one.session.refresh for one in checked] == ["token 1"] * 50
        assert both.failures == []

    run(test, nodes)


def test_a_client_that_goes_away_ends_no_refresh(nodes: Callable[[], Nodes]) -> None:
    """What the provider has given is not lost."""

    async def test(both: Nodes) -> None:
        found = both.begin()
        both.provider.answers.clear()
        asking = asyncio.create_task(both.sessions.check(found.session.id))
        await both.provider.arrived.wait()
        asking.cancel()
        both.provider.answers.set()
        checked = await both.sessions.check(found.session.id)
        assert checked
        assert (checked.session.refresh, both.provider.asked) == ("token 1", ["token 0"])

    run(test, nodes)


def test_a_failure_is_postponed_on_all_nodes(nodes: Callable[[], Nodes]) -> None:
    async def test(both: Nodes) -> None:
        found = both.begin()
        both.provider.failing = True
        refreshed = await both.one.refresh(found)
        assert refreshed
        assert refreshed.again == refresh.POSTPONED
        assert await both.other.refresh(found) == Refreshed(both.read(found.session.id))
        assert both.provider.asked == ["token 0"]
        assert both.failures == ["refresh_failed"]

    run(test, nodes)


def test_a_refused_refresh_after_another_one_is_no_logout(nodes: Callable[[], Nodes]) -> None:
    """The token was used by a node whose hold had ended before it wrote the next one."""

    async def test(both: Nodes) -> None:
        found = both.begin()
        both.provider.answers.clear()
        asking = asyncio.create_task(both.one.refresh(found))
        await both.provider.arrived.wait()
        newer = replace(found.session, refresh="token of another node", renewals=1, due=int(time.time()) + 100)
        assert both.records.write(newer, found.revision)
        both.provider.good = "another"
        both.provider.answers.set()
        refreshed = await asking
        assert refreshed
        assert refreshed.found.session == newer

    run(test, nodes)


def test_a_refused_refresh_says_so(nodes: Callable[[], Nodes]) -> None:
    async def test(both: Nodes) -> None:
        found = both.begin(refresh="token that was revoked")
        with pytest.raises(IdentityError, match="refresh_refused"):
            await both.one.refresh(found)
        assert await both.sessions.check(found.session.id) is None
        assert both.ended == [found.session.id]
        assert both.records.read(found.session.id) is None

    run(test, nodes)


def test_what_others_note_meanwhile_stays(nodes: Callable[[], Nodes]) -> None:
    async def test(both: Nodes) -> None:
        found = both.begin()
        both.provider.answers.clear()
        asking = asyncio.create_task(both.one.refresh(found))
        await both.provider.arrived.wait()
        later = int(time.time()) + 50
        assert both.records.write(sessions.used(found.session, later), found.revision)
        both.provider.answers.set()
        refreshed = await asking
        assert refreshed
        assert (refreshed.found.session.refresh, refreshed.found.session.seen) == ("token 1", later)
        assert both.read(found.session.id) == refreshed.found

    run(test, nodes)


def test_a_session_that_ends_meanwhile_stays_ended(nodes: Callable[[], Nodes]) -> None:
    async def test(both: Nodes) -> None:
        found = both.begin()
        both.provider.answers.clear()
        asking = asyncio.create_task(both.one.refresh(found))
        await both.provider.arrived.wait()
        both.records.end(found.session, time.time())
        both.provider.answers.set()
        assert await asking is None
        assert both.records.read(found.session.id) is None

    run(test, nodes)


def test_tokens_that_could_not_be_written_are_written_later(
    nodes: Callable[[], Nodes], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(both: Nodes) -> None:
        found = both.begin()

        def gone(*_: Any) -> None:
            raise StoreUnavailableError("the store is gone")

        with monkeypatch.context() as patch:
            patch.setattr(both.records, "write", gone)
            with pytest.raises(StoreUnavailableError):
                await both.one.refresh(found)
        assert both.read(found.session.id).session.refresh == "token 0"
        refreshed = await both.one.refresh(found)
        assert refreshed
        assert (refreshed.found.session.refresh, both.provider.asked) == ("token 1", ["token 0"])

    run(test, nodes)


def test_a_hold_that_does_not_end_keeps_nobody(nodes: Callable[[], Nodes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "_LONGEST_WAIT", 0.1)

    async def test(both: Nodes) -> None:
        found = both.begin()
        assert both.records.hold(found.session.id, "a node that is gone")
        checked = await both.sessions.check(found.session.id)
        assert checked
        assert checked.session == found.session
        assert checked.check <= time.time() + refresh.POSTPONED
        assert both.provider.asked == []

    run(test, nodes)


def test_a_user_who_has_changed(nodes: Callable[[], Nodes]) -> None:
    async def test(both: Nodes) -> None:
        found = both.begin()
        both.provider.claims_now = {"sub": "ada", "role": "owner"}
        checked = await both.sessions.check(found.session.id)
        assert checked
        assert (checked.session.member.role, checked.session.refresh) == ("owner", "token 1")
        assert both.read(found.session.id).session == checked.session
        # Another one: the new token is there already, and the session ends.
        other = both.begin(refresh="token 1")
        both.provider.claims_now = {"sub": "grace"}
        assert await both.sessions.check(other.session.id) is None
        assert both.ended == [other.session.id]

    run(test, nodes)


def test_the_hint_is_what_the_provider_gave_last(nodes: Callable[[], Nodes]) -> None:
    async def test(both: Nodes) -> None:
        claims = base64.urlsafe_b64encode(b'{"sub": "ada"}').decode().rstrip("=")
        found = both.begin(hint=f"e30.{claims}.x")
        checked = await both.sessions.check(found.session.id)
        assert checked
        assert checked.session.hint == found.session.hint
        again = both.begin(refresh="token 1", hint="former")
        both.provider.claims_now = {"sub": "ada"}
        checked = await both.sessions.check(again.session.id)
        assert checked
        assert checked.session.hint == "i"

    run(test, nodes)


def test_use_keeps_a_session_and_nothing_else_does(nodes: Callable[[], Nodes], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock: `idle` is an hour, and a quarter of it is noted."""
    begun = time.time()
    clock = [begun]
    monkeypatch.setattr(sessions_of_login, "time", SimpleNamespace(time=lambda: clock[0]))

    async def test(both: Nodes) -> None:
        found = both.begin(due=None, refresh=None, ends=int(begun) + 12 * 3600, lease=both.records.lease(43_200, 3600))
        session_id = found.session.id
        for hours in (0.3, 1.2, 2.1, 3.0):
            clock[0] = begun + hours * 3600
            checked = await both.sessions.check(session_id)
            assert checked
            assert checked.check <= clock[0] + 900
        # It was noted each time that a quarter of an hour had passed.
        assert both.read(session_id).session.seen == int(begun + 3.0 * 3600)
        clock[0] += 600
        assert await both.sessions.check(session_id)
        assert both.read(session_id).session.seen == int(begun + 3.0 * 3600)
        clock[0] = begun + 4.05 * 3600
        assert await both.other_sessions.check(session_id) is None
        assert both.records.read(session_id) is None
        assert (both.provider.asked, both.ended) == ([], [])

    run(test, nodes)


def test_a_session_ends_in_any_case(nodes: Callable[[], Nodes], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [time.time()]
    monkeypatch.setattr(sessions_of_login, "time", SimpleNamespace(time=lambda: clock[0]))

    async def test(both: Nodes) -> None:
        found = both.begin(due=None, refresh=None)
        clock[0] = found.session.ends - 1.0
        checked = await both.sessions.check(found.session.id)
        assert checked
        assert checked.check == found.session.ends
        clock[0] = float(found.session.ends)
        assert await both.sessions.check(found.session.id) is None

    run(test, nodes)
