"""Two nodes that share a store are one gateway to whoever logs in: what one has begun the other goes on with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.fleet import Node, fleet
from support.instance import EchoInstance
from support.oidc_provider import SECRET, OidcProvider, follow
from support.peer import wait_until
from support.stores import Engine, engine_of

COOKIE = "pylae-oidc"
PROGRAM = {"Accept": "application/json", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
Start = Callable[..., list[Node]]


@pytest.fixture(params=["etcd", pytest.param("postgresql", marks=pytest.mark.long)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    found = engine_of(request.param, request, tmp_path)
    with found.connect() as store:
        store.migrate()
    return found


@pytest.fixture
def start(
    engine: Engine, tmp_path: Path, oidc_provider: OidcProvider, echo: EchoInstance, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Start]:
    """Starts two nodes behind the name of the first one. `changed` are settings of `oidc`."""
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    monkeypatch.setenv("COOKIE_SECRET", "a secret that seals cookies, of many bytes")
    admin = {"address": "127.0.0.1:0", "references": ["CLIENT_SECRET", "COOKIE_SECRET"]}
    with fleet(engine, tmp_path, 2, admin=admin) as nodes:

        def begin(**changed: Any) -> list[Node]:
            url = nodes[0].url
            secrets = {"client_secret": "${CLIENT_SECRET}", "cookie_secret": "${COOKIE_SECRET}"}
            oidc = {**oidc_provider.settings(), **secrets, "public_url": url, **changed}
            config = {
                "services": {"all": {"instances": [echo.url]}},
                "routes": [{"name": "all", "prefix": "/", "service": "all"}],
                "auth": {"oidc": oidc},
                "rollout": {"observe": "1s"},
            }
            oidc_provider.register(url)
            applied = nodes[0].apply(config)
            assert applied.exit_code == 0, applied.output
            for node in nodes:
                node.has(1)
            return nodes

        yield begin


def who(node: Node, cookie: str) -> str | None:
    """Whom the service is told of by who has this cookie and keeps no other; None if nobody is logged in."""
    with httpx.Client(cookies={COOKIE: cookie}, trust_env=False, timeout=30) as client:
        answer = client.get(f"{node.url}/api", headers=PROGRAM)
    if answer.status_code == 401:
        return None
    assert answer.status_code == 200, answer.text
    return str(dict(answer.json()["headers"])["x-user-id"])


def login(provider: OidcProvider, node: Node) -> str:
    """Logs in, and returns the cookie of the session."""
    with provider.browser() as browser:
        assert provider.login(browser, f"{node.url}/").answer.status_code == 200
        return str(browser.cookies[COOKIE])


def test_a_login_and_a_logout_at_two_nodes(start: Start, oidc_provider: OidcProvider) -> None:
    one, other = start()
    with oidc_provider.browser() as browser:
        begun = follow(browser, f"{one.url}/orders?a=b", until=one.url).answer.headers["location"]
        ended = browser.get(begun.replace(one.url, other.url), follow_redirects=False)
        assert (ended.status_code, ended.headers["location"]) == (303, "/orders?a=b")
        cookie = browser.cookies[COOKIE]
        assert who(one, cookie) == who(other, cookie) == "ada"
        # The provider tells one node of a logout.
        second = login(oidc_provider, one)
        assert who(one, second) == who(other, second) == "ada"
        told = time.monotonic()
        follow(browser, f"{oidc_provider.issuer}/session/end")
        for node in (one, other):
            wait_until(lambda node=node: who(node, cookie) is None)
            print(f"a logout at the provider is seen on {node.address} after {time.monotonic() - told:.3f} s")
        assert who(one, second) == who(other, second) == "ada"
    # And the user tells one node.
    with oidc_provider.browser(cookies={COOKIE: second}) as browser:
        answer = browser.post(f"{other.url}/oauth2/logout", headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 303
    assert who(other, second) is None
    wait_until(lambda: who(one, second) is None)


def test_many_requests_at_two_nodes_refresh_once(start: Start, oidc_provider: OidcProvider) -> None:
    oidc_provider.configure(ttl={"AccessToken": 4})
    nodes = start()
    cookie = login(oidc_provider, nodes[0])
    # What comes of a refresh lasts.
    oidc_provider.configure(ttl={})
    before = len(oidc_provider.calls("token", grant_type="refresh_token"))

    def go_on() -> None:
        while len(oidc_provider.calls("token", grant_type="refresh_token")) == before:
            assert who(nodes[0], cookie) == "ada"

    with ThreadPoolExecutor(50) as pool:
        with oidc_provider.held("token") as wait:
            first = pool.submit(go_on)
            wait(1)
            others = [pool.submit(who, nodes[number % 2], cookie) for number in range(49)]
        first.result()
        assert [one.result() for one in others] == ["ada"] * 49
    assert len(oidc_provider.calls("token", grant_type="refresh_token")) == before + 1
    assert who(nodes[0], cookie) == who(nodes[1], cookie) == "ada"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_node_that_dies_while_it_refreshes(start: Start, oidc_provider: OidcProvider) -> None:
    """The other one goes on once its hold has ended."""
    oidc_provider.configure(ttl={"AccessToken": 4}, rotate=False)
    one, other = start()
    cookie = login(oidc_provider, one)

    def go_on() -> None:
        with pytest.raises(httpx.TransportError):
            while True:
                who(one, cookie)

    with ThreadPoolExecutor(1) as pool:
        with oidc_provider.held("token") as wait:
            asking = pool.submit(go_on)
            wait(1)
            one.stop()
        asking.result()
    before = len(oidc_provider.calls("token", grant_type="refresh_token"))

    def has_refreshed() -> bool:
        assert who(other, cookie) == "ada"
        return len(oidc_provider.calls("token", grant_type="refresh_token")) > before

    wait_until(has_refreshed, patience=60)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_store_that_dies(start: Start, oidc_provider: OidcProvider, engine: Engine) -> None:
    oidc_provider.configure(ttl={"AccessToken": 4})
    nodes = start()
    cookie = login(oidc_provider, nodes[0])
    assert engine.server is not None
    engine.server.kill()
    refreshed = len(oidc_provider.calls("token", grant_type="refresh_token"))
    end = time.monotonic() + 8
    while time.monotonic() < end:
        assert [who(node, cookie) for node in nodes] == ["ada", "ada"]
    assert len(oidc_provider.calls("token", grant_type="refresh_token")) == refreshed
    with oidc_provider.browser() as browser:
        answer = oidc_provider.login(browser, f"{nodes[0].url}/").answer
        assert (answer.status_code, "The login has failed" in answer.text) == (503, True)
    engine.server.start()

    def is_refreshed() -> bool:
        assert [who(node, cookie) for node in nodes] == ["ada", "ada"]
        return len(oidc_provider.calls("token", grant_type="refresh_token")) > refreshed

    wait_until(is_refreshed, patience=60)
    assert login(oidc_provider, nodes[1])
