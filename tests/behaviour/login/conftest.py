"""Gateways in front of a service that says who it was told the user is, behind logins at a real provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from support.instance import EchoInstance
from support.oidc_provider import OidcProvider
from support.running import Running

SECRETS = ["a secret that seals cookies, of many bytes"]
Start = Callable[..., Running]


@pytest.fixture
def start(gateway: Callable[..., Running], oidc_provider: OidcProvider, echo: EchoInstance) -> Start:
    """Starts a gateway with logins at the provider, of which it is a client. `changed` are settings of `oidc`."""

    def begin(config: dict[str, Any] | None = None, *, client: dict[str, Any] | None = None, **changed: Any) -> Running:
        running = gateway(configured(oidc_provider, config, **changed), all=echo)
        oidc_provider.register(running.url, **(client or {}))
        return running

    return begin


def configured(provider: OidcProvider, config: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """A configuration with logins at a provider."""
    routes = [{"name": "open", "prefix": "/open", "service": "all", "auth_required": False}]
    routes.append({"name": "all", "prefix": "/", "service": "all"})
    oidc = {"cookie_secret": SECRETS, **provider.settings(), **changed}
    return {"auth": {"oidc": oidc}, "routes": routes, **(config or {})}


@pytest.fixture
def browser(oidc_provider: OidcProvider) -> Iterator[httpx.Client]:
    with oidc_provider.browser() as client:
        yield client
