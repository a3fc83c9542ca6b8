"""A runner of verbs, and a configuration for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pylae.cli import main

Pylae = Callable[..., Result]

SHOP = """\
listeners: ["127.0.0.1:0"]
services:
  users:
    instances: ["http://127.0.0.1:9001", {url: "http://127.0.0.1:9002", weight: 2}]
    load_balancer: weighted_round_robin
  orders:
    instances: ["http://127.0.0.1:9003"]
routes:
  - {name: get-user, pattern: '^/api/users/(\\d+)$', method: GET, service: users, auth_required: false}
  - name: orders
    prefix: /api/orders
    method: GET|POST
    host: shop.example
    service: orders
    auth_required: false
    security_headers: false
policies:
  security_headers: {}
"""


@pytest.fixture
def pylae(monkeypatch: pytest.MonkeyPatch) -> Pylae:
    """Calls the command as a person would, without a terminal."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("PYLAE_DEBUG", raising=False)

    def run(*arguments: object, **options: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], **options)  # type: ignore[arg-type]

    return run


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A file with a good configuration."""
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP)
    return file
