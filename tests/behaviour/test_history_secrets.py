"""The history has no secrets, and a rollback sends none elsewhere than it is sent now."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.instance import EchoInstance, RawInstance
from support.recorded import Recorded

KEY = "the-key-of-the-service-behind"
SIGNING = "a secret that is quite long enough for HS256"
PARTNER = "Bearer partner-token-of-today"
SECRETS = (KEY, SIGNING, PARTNER)


def keyed(value: str, **route: Any) -> dict[str, Any]:
    """A route that sends a secret to its service."""
    transform = {"request": {"set": {"Authorization": value}}}
    return {
        "name": "keyed",
        "path": "/keyed",
        "service": "all",
        "auth_required": False,
        "transform": transform,
        **route,
    }


def config(key: str = KEY, **route: Any) -> dict[str, Any]:
    return {"auth": {"jwt": {"secret": SIGNING}}, "routes": [keyed(key, **route)]}


@pytest.fixture
def recorded(tmp_path: Path, echo: EchoInstance) -> Iterator[Recorded]:
    with Recorded(tmp_path, all=echo) as gateway:
        yield gateway


def sent(recorded: Recorded) -> str:
    """What the service gets of the route."""
    return httpx.get(f"{recorded.running().url}/keyed", trust_env=False).text


def refused(answer: httpx.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    assert not [secret for secret in SECRETS if secret in answer.text]
    return [(one["path"], one["message"]) for one in answer.json()["problems"]]


def test_no_secret_gets_into_the_state_folder(recorded: Recorded) -> None:
    file = recorded.folder / "in-a-file"
    file.write_text("a-secret-that-is-in-a-file")
    document = {**config(), "policies": {"transform": {"request": {"set": {"X-File": f"${{file:{file}}}"}}}}}
    recorded.start(document)
    recorded.write({**document, "limits": {"max_body": 1000}})
    recorded.change(lambda it: it["routes"][0]["transform"]["request"]["set"].update({"X-Api-Key": PARTNER}))
    recorded.change(lambda it: it.update(limits={"max_body": 2000}))
    assert recorded.http.post("/config/reload").status_code == 200
    # What the history shows is no secret, and cannot become one by mistake.
    for path, message in refused(recorded.put(recorded.get("/history/1/config"))):
        assert path in ("auth.jwt.secret", "routes[0].transform.request.set.Authorization")
        assert "what the history shows" in message
    secrets = (*SECRETS, "a-secret-that-is-in-a-file")
    before = recorded.kept()
    assert b"latest" not in before
    assert not [secret for secret in secrets if secret.encode() in before]
    entries = recorded.entries()
    assert len(entries) == 5
    # The documents are compressed: what they have is looked at as well.
    shown = [str(entries), *(recorded.http.get(f"/history/{n}/config").text for n in range(1, 6))]
    shown += [recorded.http.get(f"/history/{n}/diff").text for n in range(1, 6)]
    assert not [secret for secret in secrets for text in shown if secret in text]
    assert not [secret for secret in secrets if secret.encode() in recorded.kept()]
    assert "(hidden)" in shown[1]
    assert f"${{file:{file}}}" in shown[1]
    # A mark is the same for all secrets: it cannot be used to guess one.
    assert "(hidden:" not in "".join(shown)


def test_a_rollback_uses_the_present_secret(recorded: Recorded) -> None:
    recorded.start(config())
    recorded.write({**config("the-new-key"), "limits": {"max_body": 1000}})
    assert "the-new-key" in sent(recorded)
    answer = recorded.roll_back(1)
    assert answer.status_code == 200, answer.text
    assert "limits" not in recorded.get("/config")
    assert "the-new-key" in sent(recorded)
    recorded.kill()
    recorded.start()
    assert "the-new-key" in sent(recorded)


def test_a_secret_may_be_a_reference_by_now(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "the-new-key")
    recorded.start({**config(), "limits": {"max_body": 1000}})
    recorded.write(config("${UPSTREAM_KEY}"))
    assert recorded.roll_back(1).status_code == 200
    assert "the-new-key" in sent(recorded)
    assert recorded.get("/config")["limits"] == {"max_body": 1000}
    header = recorded.get("/history/3/config")["routes"][0]["transform"]["request"]["set"]
    assert header == {"Authorization": "${UPSTREAM_KEY}"}


def test_a_missing_secret_is_named(recorded: Recorded) -> None:
    recorded.start(config())
    recorded.write({"auth": {"jwt": {"secret": SIGNING}}, "routes": [{**keyed(KEY), "name": "other"}]})
    ((path, message),) = refused(recorded.roll_back(1))
    assert path == "routes[0].transform.request.set.Authorization"
    assert "has none at this place" in message
    assert recorded.how() == ["start", "file"]
    assert recorded.get("/config")["routes"][0]["name"] == "other"


def test_places_are_told_by_names(recorded: Recorded) -> None:
    first, second = keyed(KEY), {**keyed(PARTNER), "name": "second", "path": "/second"}
    recorded.start({"routes": [first, second]})
    recorded.write({"routes": [second, first], "limits": {"max_body": 1000}})
    assert recorded.roll_back(1).status_code == 200
    assert KEY in sent(recorded)
    assert PARTNER not in sent(recorded)


@pytest.mark.parametrize("what", ["service", "instances", "path"])
def test_a_secret_is_not_sent_elsewhere(
    recorded: Recorded, what: str, instance: RawInstance, echo: EchoInstance
) -> None:
    """The old entry sent another secret there; that the present one may be sent there nobody has said."""
    old: Callable[[], dict[str, Any]] = {
        "service": lambda: {
            **config("an-old-key", service="other"),
            "services": {"other": {"instances": [instance.url]}},
        },
        "instances": lambda: {**config("an-old-key"), "services": {"all": {"instances": [instance.url]}}},
        "path": lambda: config("an-old-key", prefix="/keyed", path=None, strip_prefix=True),
    }[what]
    document = old()
    document["routes"][0] = {key: value for key, value in document["routes"][0].items() if value is not None}
    recorded.start({**document, "services": {"all": {"instances": [echo.url]}, **document.get("services", {})}})
    recorded.write({**config(), "services": {"all": {"instances": [echo.url]}, "other": {"instances": [echo.url]}}})
    ((path, message),) = refused(recorded.roll_back(1))
    assert path == "routes[0].transform.request.set.Authorization"
    assert "where it is sent" in message
    assert recorded.how() == ["start", "file"]


def test_references_go_where_they_went(recorded: Recorded, echo: EchoInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old entry may name what is nowhere in the present one, with the destination of then."""
    monkeypatch.setenv("UPSTREAM_KEY", KEY)
    recorded.start(config("${UPSTREAM_KEY}"))
    other = {"instances": [echo.url]}
    recorded.write({"auth": {"jwt": {"secret": SIGNING}}, "services": {"all": other}, "routes": []})
    # Over the admin API alone this is refused.
    assert recorded.put(config("${UPSTREAM_KEY}")).status_code == 422
    answer = recorded.roll_back(1)
    assert answer.status_code == 200, answer.text
    assert KEY in sent(recorded)
    # What it has is its own again.
    recorded.change(lambda it: it.update(limits={"max_body": 1000}))
    recorded.kill()
    recorded.start()
    assert KEY in sent(recorded)


def test_a_reference_that_has_come_since_is_not_sent_elsewhere(
    recorded: Recorded, echo: EchoInstance, instance: RawInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", KEY)
    recorded.start({**config("an-old-key"), "services": {"all": {"instances": [instance.url]}}})
    recorded.write({**config("${UPSTREAM_KEY}"), "services": {"all": {"instances": [echo.url]}}})
    ((path, message),) = refused(recorded.roll_back(1))
    assert path == "routes[0].transform.request.set.Authorization"
    assert "where it is sent" in message


def test_a_reference_that_cannot_be_read_any_more_is_told(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", KEY)
    recorded.start(config("${UPSTREAM_KEY}"))
    recorded.kill()
    monkeypatch.delenv("UPSTREAM_KEY")
    assert "UPSTREAM_KEY" not in os.environ
    recorded.start({"auth": {"jwt": {"secret": SIGNING}}, "routes": []})
    ((_, message),) = refused(recorded.roll_back(1))
    assert "the environment variable UPSTREAM_KEY is not set" in message
