"""`pylae token`: prints a token that the gateway of a file accepts."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

CONFIG = """\
listeners: ["127.0.0.1:0"]
auth: {jwt: {secret: "a secret of more than thirty-two bytes, for tests"}}
routes: [{path: /, service_url: "http://127.0.0.1:9"}]
"""


def test_a_token_for_the_file_at_hand(pylae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pylae.yaml").write_text(CONFIG)
    result = pylae("token", "--user", "7", "--role", "admin", "--permission", "a", "--permission", "b", "--ttl", "5m")
    assert result.exit_code == 0, result.output
    payload = result.output.strip().split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert (claims["sub"], claims["role"], claims["permissions"]) == ("7", "admin", ["a", "b"])
    assert claims["exp"] - claims["iat"] == 300


def test_explain_says_what_a_credential_would_get(pylae, tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(CONFIG.replace('9"}', '9", permissions: [a]}'))
    good = pylae("token", file, "--user", "7", "--permission", "a").output.strip()
    poor = pylae("token", file, "--user", "8").output.strip()
    told = pylae("explain", file, "GET", "/", "-H", f"Authorization: Bearer {good}")
    assert told.exit_code == 0, told.output
    assert "would: jwt lets user 7 (no role) pass" in told.output
    assert "would: lets the user pass" in told.output
    assert (
        "403: the user lacks the permission a"
        in pylae("explain", file, "GET", "/", "-H", f"Authorization: Bearer {poor}").output
    )
    assert "401: no credential for jwt" in pylae("explain", file, "GET", "/").output
    assert (
        "401: jwt: this is not a JSON Web Token"
        in pylae("explain", file, "GET", "/", "-H", "Authorization: Bearer x").output
    )


def test_what_cannot_be_signed(pylae, tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(
        CONFIG.replace('secret: "a secret of more than thirty-two bytes, for tests"', 'jwks_url: "https://k.test/"')
    )
    result = pylae("token", file, "--user", "7")
    assert result.exit_code == 1
    assert "no token can be signed" in result.output


def test_a_wrong_time(pylae, tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(CONFIG)
    result = pylae("token", file, "--user", "7", "--ttl", "soon")
    assert result.exit_code == 2
    assert "not a duration" in result.output
