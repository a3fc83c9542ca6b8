from __future__ import annotations

from pathlib import Path

import pytest

from pylae import ConfigError, Gateway
from pylae.testing import FakeService
from support.exchanges import ask, gateway

CONFIGURATION = """
trusted_proxies: [127.0.0.1]
services: {{one: {{instances: ["{url}"]}}}}
policies:
  ip_access: {{allow: [192.0.2.0/24, "2001:db8::/32"], deny: [192.0.2.66, "2001:db8:bad::/48"]}}
  security_headers: true
routes:
  - {{path: /, service: one, auth_required: false}}
  - {{path: /denied, service: one, auth_required: false, ip_access: {{deny: 203.0.113.0/24}}}}
  - {{path: /all, service: one, auth_required: false, ip_access: false}}
"""


@pytest.mark.parametrize(
    ("path", "client", "status"),
    [
        ("/", "192.0.2.1", 200),
        ("/", "192.0.2.255", 200),
        ("/", "2001:db8::1", 200),
        ("/", "::ffff:192.0.2.1", 200),
        ("/", "192.0.2.66", 403),
        ("/", "::ffff:192.0.2.66", 403),
        ("/", "2001:db8:bad::1", 403),
        ("/", "192.0.3.0", 403),
        ("/", "not an address", 403),
        ("/denied", "203.0.113.9", 403),
        ("/denied", "198.51.100.1", 200),
        ("/all", "198.51.100.1", 200),
        ("/nothing", "192.0.2.1", 404),
        ("/nothing", "198.51.100.1", 403),
    ],
)
def test_who_may(tmp_path: Path, path: str, client: str, status: int) -> None:
    with FakeService() as service, gateway(tmp_path, CONFIGURATION.format(url=service.url)) as address:
        reply = ask(address, path, headers={"X-Forwarded-For": client})
        assert reply.status == status
        assert len(service.requests) == (status == 200)
        assert reply.headers.get("X-Content-Type-Options") == "nosniff"
        if status == 403:
            assert reply.json()["type"] == "urn:pylae:error:address_refused"
            assert client not in reply.body.decode()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{}", "needs `allow` or `deny`"),
        ("true", "needs `allow` or `deny`"),
        ("{allow: [10.0.0.1/8]}", "after its prefix length"),
        ("{deny: [localhost]}", "not an address"),
        ("{Deny: [10.0.0.0/8]}", "did you mean `deny`"),
    ],
)
def test_bad_configuration(tmp_path: Path, settings: str, words: str) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(f"policies:\n  ip_access: {settings}\n")
    with pytest.raises(ConfigError, match=words):
        Gateway.from_file(file).check()
