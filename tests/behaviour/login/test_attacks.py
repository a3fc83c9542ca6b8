"""Attacks on logins, and mishaps: none passes, each is told apart in the log, and a client is not told which it was.

They are in `support/login_attacks`, a file for each subject. Each has a control, which differs in one thing and passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from support.login_attacks import ATTACKS, Attack, Stage, passed
from support.login_attacks.stage import COOKIE_SECRET
from support.login_attacks.verdicts import REFUSALS
from support.oidc_provider import SECRET
from support.peer import wait_until

FEWEST = 150
"""Attacks that the files have at least."""
SECRETS = (SECRET, COOKIE_SECRET, "eyJ", "v1.")
"""What no log may have: secrets, tokens, and cookies by how they begin."""
SECTION = re.compile(
    r"(RFC \d{4,}|OpenID Connect [A-Z][\w -]+ 1\.0|Fetch Metadata Request Headers|CVE-\d{4}-\d+),? section \d+(\.\d+)*"
)


@pytest.fixture(scope="class")
def running_stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.fixture
def stage(running_stage: Stage) -> Iterator[Stage]:
    yield running_stage
    running_stage.provider.mend()


def control(stage: Stage, attack: Attack) -> None:
    answer = attack.attempt(stage, False)
    # The provider, which logs somebody out, gets no page.
    done = answer.status_code == 200 if attack.refusal == "logout" else passed(answer)
    assert done, (answer.status_code, answer.text)
    stage.provider.mend()


def refused(stage: Stage, attack: Attack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    before = stage.no_sessions()
    answer = attack.attempt(stage, True)
    assert not passed(answer)
    REFUSALS[attack.refusal](stage, answer)
    if attack.refusal == "session":
        assert set(stage.no_sessions() - before) == ({attack.reason} if attack.reason else set())
    else:
        # Programs are told some of them.
        told = "" if attack.refusal in ("login", "logout", "discovery") else answer.text
        wait_until(lambda: attack.reason in told + logged(caplog))
    assert not any(secret in logged(caplog) for secret in SECRETS)


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """What the gateway has said."""
    return "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("pylae"))


class Tried:
    """Each subject has a gateway of its own."""

    def test_it(self, attack: Attack, stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
        control(stage, attack)
        refused(stage, attack, caplog)


def of(subject: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("attack", [pytest.param(row, id=row.name) for row in ATTACKS[subject]])


@of("bound")
class TestBound(Tried):
    pass


@of("callbacks")
class TestCallbacks(Tried):
    pass


@of("cross_site")
class TestCrossSite(Tried):
    pass


@of("decisions")
class TestDecisions(Tried):
    pass


@of("id_tokens")
class TestIdTokens(Tried):
    pass


@of("logouts")
class TestLogouts(Tried):
    pass


@of("redirects")
class TestRedirects(Tried):
    pass


@of("sessions")
class TestSessions(Tried):
    pass


def test_there_are_enough_and_each_says_what_asks_for_the_defence() -> None:
    rows = [row for subject in ATTACKS.values() for row in subject]
    assert len(rows) >= FEWEST
    assert [row.name for row in rows if not SECTION.fullmatch(row.source)] == []
    for subject, own in ATTACKS.items():
        names = [row.name for row in own]
        assert len(set(names)) == len(names), subject
        assert {f"Test{subject.title().replace('_', '')}"} <= set(globals()), subject
