"""Tokens made in Python, and the configuration of authenticators."""

from __future__ import annotations

import base64
import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, Gateway
from pylae.auth import User, default_auth, issue_token, secret_file
from pylae.config.models.auth import AuthConfig
from pylae.config.models.authenticators.api_key import key_hash
from pylae.config.models.config import Config

SECRET = "a secret of more than thirty-two bytes, for tests"


def claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))


def config(**jwt: Any) -> Config:
    return Config.model_validate({"auth": {"jwt": {"secret": SECRET, **jwt}}})


def test_a_token_says_who_and_for_how_long() -> None:
    made = claims(issue_token(User("7", "admin", "a@b.c", ["x", "y"]), config=config(), ttl=timedelta(minutes=5)))
    assert made["exp"] - made["iat"] == 300
    assert len(made.pop("jti")) == 32
    del made["exp"], made["iat"]
    assert made == {"sub": "7", "role": "admin", "email": "a@b.c", "permissions": ["x", "y"]}
    hour = claims(issue_token("7", config=config()))
    assert hour["exp"] - hour["iat"] == 3600
    assert claims(issue_token({"id": "7", "role": "clerk"}, config=config()))["role"] == "clerk"


def test_a_token_suits_what_the_gateway_asks_for() -> None:
    names = {"id": "uid", "role": "groups", "permissions": "scope", "email": []}
    made = claims(
        issue_token(User("7", "a", "b@c", ["x"]), config=config(issuer=["me", "x"], audience="you", claims=names))
    )
    assert {key: made[key] for key in made.keys() - {"exp", "iat", "jti"}} == {
        "uid": "7", "groups": "a", "scope": ["x"], "iss": "me", "aud": "you",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("user", "says"),
    [
        ({"id": 1}, {"sub": "1"}),
        (1, {"sub": "1"}),
        (User(1), {"sub": "1"}),  # type: ignore[arg-type]
        ({"id": "1", "role": None, "email": None, "permissions": None}, {"sub": "1"}),
        ({"id": "1", "permissions": "orders:write"}, {"sub": "1", "permissions": ["orders:write"]}),
        ({"id": "1", "permissions": "a|b"}, {"sub": "1", "permissions": ["a", "b"]}),
        (User("1", permissions={"a"}), {"sub": "1", "permissions": ["a"]}),  # type: ignore[arg-type]
    ],
)
def test_users_may_be_written_in_several_ways(user: Any, says: dict[str, Any]) -> None:
    made = claims(issue_token(user, config=config()))
    assert {key: made[key] for key in made.keys() - {"exp", "iat", "jti"}} == says


@pytest.mark.parametrize("ttl", ["5m", 300, timedelta(minutes=5)])
def test_the_life_of_a_token_is_written_as_everywhere(ttl: Any) -> None:
    made = claims(issue_token("7", config=config(), ttl=ttl))
    assert made["exp"] - made["iat"] == 300


@pytest.mark.parametrize(
    ("user", "path", "message", "hint"),
    [
        ({"id": 1, "name": "x"}, "user.name", "unknown key `name`; allowed are id, role, email, permissions", None),
        ({"id": 1, "permission": "x"}, "user.permission", "unknown key `permission`", "did you mean `permissions`?"),
        ({"role": "admin"}, "user.id", "`id` is required and missing", None),
        ({"id": None}, "user.id", "must be a text or a whole number; found null", None),
        ({"id": True}, "user.id", "must be a text or a whole number; found true", None),
        ({"id": ""}, "user.id", "must not be empty", None),
        ({"id": "1", "role": 5}, "user.role", "must be a text; found 5", None),
        ({"id": "1", "email": ["a"]}, "user.email", "must be a text; found a list", None),
        (
            {"id": "1", "permissions": 5},
            "user.permissions",
            "must be texts; found 5",
            'write them like ["orders:write"]',
        ),
        ({"id": "1", "permissions": ["a", 5]}, "user.permissions[1]", "must be a text; found 5", None),
        (User("1", role=5), "user.role", "must be a text; found 5", None),  # type: ignore[arg-type]
        (["7"], "user", "must be a user; found a list", 'an id, or a mapping such as {"id": "7", "role": "admin"}'),
        (None, "user", "must be a user; found null", "an id, or a mapping"),
    ],
)
def test_what_is_wrong_with_a_user_is_said(user: Any, path: str, message: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        issue_token(user, config=config())
    (problem,) = caught.value.problems
    assert (problem.file, problem.path) == (__file__, path)
    assert problem.message.startswith(message)
    assert (problem.hint or "").startswith(hint or "")


def test_what_else_is_wrong_is_said() -> None:
    with pytest.raises(ConfigError, match=r"test_auth\.py:.*: ttl: not a duration"):
        issue_token("7", config=config(), ttl="soon")
    with pytest.raises(ConfigError, match=r"config: must be a Config; found a Gateway \(`gateway.config` is one\)"):
        issue_token("7", config=Gateway())  # type: ignore[arg-type]


def test_without_a_secret_nothing_is_signed() -> None:
    other = Config.model_validate({"auth": {"jwt": {"jwks_url": "https://keys.test/"}}})
    with pytest.raises(ConfigError, match=r"no `auth\.jwt\.secret`"):
        issue_token("7", config=other)


def test_one_secret_is_made_however_many_start_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("PYLAE_JWT_SECRET", "JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    found: list[str] = []
    ready = threading.Barrier(8)

    def start() -> None:
        ready.wait()
        found.append(issue_secret())

    def issue_secret() -> str:
        secret = default_auth(create=True).jwt[0].secret
        assert secret
        return secret[0].get_secret_value()

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = secret_file().read_text().strip()
    assert len(kept) >= 32
    assert set(found) == {kept}
    assert [path.name for path in secret_file().parent.iterdir()] == ["jwt-secret"]
    assert secret_file().stat().st_mode & 0o777 == 0o600
    assert secret_file().parent.stat().st_mode & 0o777 == 0o700


def test_a_state_directory_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))
    for name in ("PYLAE_JWT_SECRET", "JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    one, two = (default_auth(create=True).jwt[0].secret for _ in range(2))
    assert one != two
    assert "set PYLAE_JWT_SECRET to your own" in caplog.text


def test_a_link_in_the_place_of_the_secret_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("PYLAE_JWT_SECRET", "JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    known = tmp_path / "known"
    known.write_text("known to somebody else")
    known.chmod(0o600)
    secret_file().parent.mkdir()
    secret_file().symlink_to(known)
    secret = default_auth(create=True).jwt[0].secret
    assert secret
    assert secret[0].get_secret_value() != "known to somebody else"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"jwt": {}}, "needs one of `secret`, `public_key`, `jwks` and `jwks_url`"),
        ({"jwt": {"secret": "x", "jwks_url": "https://x"}}, "has `secret` and `jwks_url`; give only one"),
        ({"jwt": {"secret": ""}}, "the secret is empty"),
        ({"jwt": {"secret": ["x", ""]}}, "the secret is empty"),
        ({"jwt": {"secret": "x", "algorithms": "RS256"}}, "RS256 needs a public key"),
        ({"jwt": {"public_key": "x", "algorithms": ["RS256", "HS256"]}}, "would take a public key for a secret"),
        ({"jwt": {"jwks_url": "https://x", "algorithms": ["HS256"]}}, "would take a public key for a secret"),
        ({"jwt": {"secret": "x", "algorithms": ["none"]}}, "algorithms"),
        ({"jwt": {"jwks_url": "ftp://x"}}, "http:// or https://"),
        ({"jwt": {"jwks_url": "https://me:password@x"}}, "without user name"),
        ({"jwt": [{"secret": "x"}, {"secret": "y"}]}, "two authenticators are called jwt"),
        ({"jwt": {"name": "basic", "secret": "x"}, "basic": {"users": {"a": "$2b$04$x"}}}, "two authenticators"),
        ({"api_key": {"consumers": {}}}, "at least 1"),
        ({"api_key": {"consumers": {"a": "plain"}}}, "is not a SHA-256 in hex"),
        ({"api_key": {"consumers": {"a": key_hash("k"), "b": key_hash("k")}}}, "a and b have the same key"),
        ({"api_key": {"header": False, "consumers": {"a": key_hash("k")}}}, "needs `header` or `query`"),
        ({"basic": {"users": {"a": "password"}}}, "neither an Argon2id nor a bcrypt hash"),
        ({"basic": {"users": {"a:b": "$2b$04$x"}}}, "no colon"),
        ({"realm": 'a"b'}, "visible ASCII"),
        ({"failure_limit": "often"}, "not a rate"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="validation error") as caught:
        AuthConfig.model_validate(settings)
    assert words in str(caught.value)


def test_the_smallest_settings() -> None:
    settings = {"jwt": {"secret": "x"}, "api_key": {"consumers": {"a": key_hash("k")}}, "failure_limit": False}
    auth = AuthConfig.model_validate(settings)
    assert auth.names == ("jwt", "api_key")
    plan = auth.plan({})
    assert plan is not None
    assert plan["failure_limit"] is None
    assert AuthConfig().plan({}) is None
    assert AuthConfig().failure_limit is not None
