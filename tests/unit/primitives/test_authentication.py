"""Tokens that programs make and verify by themselves."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from pylae import AuthenticationService, ConfigError
from pylae.hooks import User
from pylae.testing import FakeClock

SECRET = "s" * 32
ADA = {"id": 7, "email": "ada@shop.example", "role": "user", "permissions": ["orders:write"]}


def asked(service: AuthenticationService, token: str, name: str = "Authorization") -> dict[str, Any]:
    return asyncio.run(service.authenticate({"headers": {name: f"Bearer {token}"}}))


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def signed(claims: dict[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
    """As any library makes one."""
    parts = [{"alg": algorithm, "typ": "JWT"}, claims]
    text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    mark = hmac.digest(secret.encode(), text, "sha256")
    return (text + b"." + base64.urlsafe_b64encode(mark).rstrip(b"=")).decode()


def test_there_and_back() -> None:
    service = AuthenticationService(SECRET)
    token = service.generate_token(ADA)
    user = {"id": "7", "email": "ada@shop.example", "role": "user", "permissions": ["orders:write"]}
    assert asked(service, token) == {"success": True, "user": user}
    assert asked(service, token, "authorization")["success"], "names ignore case"
    assert asked(service, token, "AUTHORIZATION")["success"]
    claims = claims_of(token)
    assert (claims["user_id"], claims["sub"], claims["exp"] - claims["iat"]) == ("7", "7", 3600)
    assert len(claims["jti"]) == 32


def test_tokens_of_other_programs() -> None:
    clock = FakeClock()
    now = clock.now // 1_000_000_000
    service = AuthenticationService(SECRET, clock=clock)
    outcome = asked(service, signed({"user_id": 7, "email": "a@b.example", "iat": now + 0.5, "exp": now + 60.5}))
    user = {"id": "7", "email": "a@b.example", "role": "user", "permissions": []}
    assert outcome == {"success": True, "user": user}


@pytest.mark.parametrize(
    ("token", "error"),
    [
        ("", "there is no bearer token"),
        ("x", "not a JSON Web Token"),
        (signed({"sub": "7", "exp": 9e9}, "other"), "signature"),
        (signed({"sub": "7", "exp": 9e9}, algorithm="none"), "algorithm"),
        (signed({"sub": "7"}), "lacks a claim"),
        (signed({"exp": 9e9}), "who the user is"),
        ("x" * 10_000, "too large"),
    ],
)
def test_tokens_that_are_none(token: str, error: str) -> None:
    outcome = asked(AuthenticationService(SECRET), token)
    assert outcome["success"] is False
    assert error in outcome["error"]


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}, {"X": "Bearer a"}]
)
def test_requests_without_one(headers: dict[str, str]) -> None:
    outcome = AuthenticationService(SECRET).verified({"headers": headers})
    assert outcome == {"success": False, "error": "there is no bearer token"}
    assert AuthenticationService(SECRET).verified({}) == outcome


def test_it_expires() -> None:
    clock = FakeClock()
    service = AuthenticationService(SECRET, clock=clock)
    token = service.generate_token(ADA, ttl="5m")
    clock.advance(329)
    assert asked(service, token)["success"], "within the leeway of 30 seconds"
    clock.advance(1)
    assert asked(service, token) == {"success": False, "error": "the token has expired"}


@pytest.mark.parametrize(
    ("user", "admin_role", "allowed"),
    [
        ({"role": "user", "permissions": ["orders:write"]}, "admin", True),
        ({"role": "user", "permissions": ["orders:read"]}, "admin", False),
        ({"role": "user"}, "admin", False),
        ({}, "", False),
        ({"role": "admin"}, "admin", True),
        ({"role": "staff,admin"}, "admin", True),
        ({"role": "admins"}, "admin", False),
        ({"role": "admin"}, "", False),
        ({"role": "root"}, "root", True),
        (User(id="7", permissions=["orders:write"]), "admin", True),
        (User(id="7", role="admin"), "admin", True),
        (User(id="7"), "admin", False),
    ],
)
def test_permissions(user: Any, admin_role: str, allowed: bool) -> None:
    service = AuthenticationService(SECRET, admin_role=admin_role)
    assert service.check_permission(user, "orders:write") is allowed


def test_the_secret_of_a_gateway_that_configures_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLAE_JWT_SECRET", SECRET)
    token = AuthenticationService().generate_token(ADA)
    assert asked(AuthenticationService(SECRET), token)["success"]
    monkeypatch.delenv("PYLAE_JWT_SECRET")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    service = AuthenticationService()
    assert not any(tmp_path.iterdir()), "nothing is generated before it is needed"
    token = service.generate_token(ADA)
    assert asked(AuthenticationService(), token)["success"]
    assert not asked(AuthenticationService(SECRET), token)["success"]


def test_what_makes_no_token() -> None:
    with pytest.raises(ConfigError, match="secret is empty"):
        AuthenticationService("")
    with pytest.raises(ConfigError, match="id"):
        AuthenticationService(SECRET).generate_token({"email": "a@b.example"})
    with pytest.raises(ValueError, match="not a duration"):
        AuthenticationService(SECRET).generate_token(ADA, ttl="soon")
