from __future__ import annotations

import hashlib
import hmac
import re
import time
from pathlib import Path

import pytest

from pylae import ConfigError
from pylae.testing import Received

FILE = Path(__file__).parent / "pylae.yaml"
SECRET = "shared with the payments team"


def is_signed(request: Received, secret: str = SECRET) -> bool:
    found = re.fullmatch(r"t=(\d+), v1=([0-9a-f]{64})", request.headers["X-Signature"])
    assert found
    assert abs(int(found[1]) - time.time()) < 60
    digest = hashlib.sha256(request.body).hexdigest()
    signed = f"{found[1]}\n{request.method}\n{request.target}\n{digest}"
    return hmac.compare_digest(hmac.digest(secret.encode(), signed.encode(), "sha256").hex(), found[2])


def test_services_can_check_it(pylae_gateway, pylae_service, monkeypatch):
    monkeypatch.setenv("SIGNING_SECRET", SECRET)
    payments, shop = pylae_service(), pylae_service()
    gateway = pylae_gateway(FILE, payments=payments, shop=shop)
    gateway.post("/payments/1?draft=1", json={"amount": 7}, headers={"X-Signature": "t=1, v1=forged"})
    gateway.get("/payments/1")
    gateway.get("/")
    assert [is_signed(request) for request in payments.requests] == [True, True]
    assert not is_signed(payments.requests[0], "another secret")
    assert "X-Signature" not in shop.requests[0].headers


def test_settings_are_checked(pylae_gateway, monkeypatch):
    monkeypatch.setenv("SIGNING_SECRET", "short")
    with pytest.raises(ConfigError, match=r"plugins\[0\].settings.secret"):
        pylae_gateway(FILE)
