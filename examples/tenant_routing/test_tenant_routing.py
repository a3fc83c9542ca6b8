from __future__ import annotations

from pathlib import Path

import pytest

from pylae.testing import make_token

FILE = Path(__file__).parent / "pylae.yaml"


@pytest.mark.parametrize(
    ("claims", "answer"),
    [
        ({"tenant": "acme"}, (200, "acme has acme")),
        ({"tenant": "small"}, (200, "shared has small")),
        ({"tenant": "late-payer"}, (403, '{"error": "no tenant"}')),
        ({"tenant": 7}, (403, '{"error": "no tenant"}')),
        ({}, (403, '{"error": "no tenant"}')),
    ],
)
def test_routing(pylae_gateway, pylae_service, claims, answer):
    shared, acme = (
        pylae_service(lambda request, name=name: f"{name} has {request.headers['X-Tenant']}")
        for name in ("shared", "acme")
    )
    gateway = pylae_gateway(FILE, shared=shared, acme=acme)
    got = gateway.get("/api/x", token=make_token({"sub": "1", **claims}), headers={"X-Tenant": "forged"})
    assert (got.status, got.text) == answer


def test_nobody_chooses_without_a_token(pylae_gateway, pylae_service):
    assert pylae_gateway(FILE, shared=pylae_service(), acme=pylae_service()).get("/api/x").status == 401
