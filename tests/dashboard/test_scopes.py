"""Somebody whose token only reads sees everything and changes nothing, here and at the gateway."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from support import browser as chromium
from support.admin import Admin
from support.dashboard import PATHS, Reader
from support.instance import EchoInstance

pytestmark = chromium.needed

CONFIG = {
    "auth": {"api_key": {"consumers": {"billing": ["ab" * 32]}}},
    "routes": [{"name": "all", "prefix": "/", "service": "all", "rate_limit": "5/hour", "auth_required": False}],
}
FREE = {"Look", "Compare", "Explain", "Log out"}
"""Controls that change nothing."""


def controls(reader: Reader) -> dict[str, bool]:
    """The controls of the page that change something, and whether they can be used."""
    # In one step, as a page that is alive builds some of them anew.
    found = reader.page.eval_on_selector_all(
        "main button.action", "(all) => all.map((one) => [one.querySelector('.block').textContent, !one.disabled])"
    )
    return dict(found)


def test_a_token_that_only_reads(admin: Callable[..., Admin], echo: EchoInstance, look: Callable[..., Reader]) -> None:
    api = admin(CONFIG, all=echo)
    token = api.post("/tokens", name="reader", scopes=["read"])["secret"]
    reader = look(api, token=token)
    seen: dict[str, bool] = {}
    for path in (*PATHS, "/configuration?tab=history&entry=1", "/services?service=all"):
        reader.open(path)
        reader.page.wait_for_load_state("networkidle")
        seen |= controls(reader)
    usable = {name for name, enabled in seen.items() if enabled} - FREE
    assert usable == set()
    assert {"Check", "Apply", "Roll back to 1", "New key", "New token", "Revoke", "Refuse", "Purge", "Reset"} < set(
        seen
    )
    # It says why.
    reader.open("/consumers")
    named = reader.page.get_by_role("button", name="New token: your token may not configure this gateway")
    assert named.count() == 1
    # Whoever gets around the page meets the gateway.
    bearer = {"Authorization": f"Bearer {token}"}
    base = f"http://{api.address}"
    for method, path in (
        ("PUT", "/config"),
        ("POST", "/history/1/rollback"),
        ("POST", "/tokens"),
        ("POST", "/cache/purge"),
    ):
        answer = httpx.request(method, base + path, headers={**bearer, "If-Match": "*"}, json={"everything": True})
        assert answer.status_code == 403, (path, answer.text)


@pytest.mark.long
@pytest.mark.parametrize(
    ("scope", "can", "cannot"), [("operate", "Purge", "Reset nothing"), ("configure", "New key", "Purge")]
)
def test_scopes_are_told_apart(
    admin: Callable[..., Admin], echo: EchoInstance, look: Callable[..., Reader], scope: str, can: str, cannot: str
) -> None:
    api = admin(CONFIG, all=echo)
    reader = look(api, token=api.post("/tokens", name="somebody", scopes=[scope])["secret"])
    seen: dict[str, bool] = {}
    for path in ("/consumers", "/limits"):
        reader.open(path)
        seen |= controls(reader)
    assert seen[can]
    assert not seen.get(cannot, False)


def test_a_session_ends_with_its_token(
    admin: Callable[..., Admin], echo: EchoInstance, look: Callable[..., Reader]
) -> None:
    api = admin(CONFIG, all=echo)
    reader = look(api, token=api.post("/tokens", name="somebody", scopes=["configure"])["secret"], path="/consumers")
    assert api.http.delete("/tokens/somebody").status_code == 200
    reader.click("button", "New token")
    reader.page.get_by_role("dialog").get_by_label("Name").fill("mine")
    reader.confirm("Make it")
    reader.sees("refuses")
    assert [one["name"] for one in api.get("/tokens")["tokens"]] == ["somebody"]
