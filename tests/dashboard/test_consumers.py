"""Consumers and keys: made, shown once, used, revoked."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable

import httpx

from pylae.testing import make_token
from support import browser as chromium
from support.admin import Admin
from support.dashboard import Reader
from support.instance import EchoInstance

pytestmark = chromium.needed


def shown_secret(reader: Reader) -> str:
    """The secret in the dialog, which is closed then."""
    dialog = reader.page.get_by_role("dialog")
    dialog.get_by_text("It is shown only now").wait_for()
    secret = str(dialog.locator(".secret").inner_text())
    reader.confirm("I have it")
    dialog.wait_for(state="detached")
    assert secret not in reader.page.content()
    return secret


def test_an_api_key_from_its_making_to_its_end(
    admin: Callable[..., Admin], echo: EchoInstance, look: Callable[..., Reader]
) -> None:
    api = admin({"auth": {"api_key": {"consumers": {"billing": {"keys": ["ab" * 32], "role": "robot"}}}}}, all=echo)
    reader = look(api, path="/consumers")
    assert "robot" in reader.row("billing").inner_text()
    reader.click("button", "New key")
    reader.page.get_by_label("Consumer, a new one or one that has keys").fill("billing")
    reader.confirm("Make it")
    key = shown_secret(reader)
    # The one before stays, and so does the role.
    assert api.get("/config")["auth"]["api_key"]["consumers"]["billing"]["keys"][0] == "ab" * 32
    assert api.running.get("/", f"X-API-Key: {key}").status == 200
    assert key not in api.http.get("/config").text
    assert api.get("/history")["entries"][0]["reason"] == "a key for billing"

    reader.choose("Key", re.compile(r"billing, (?!abab)"))
    reader.click("button", "Revoke key")
    reader.confirm("Revoke")
    reader.sees(re.compile("^The key .* is revoked"))
    assert api.running.get("/", f"X-API-Key: {key}").status == 401
    assert api.get("/config")["auth"]["api_key"]["consumers"] == {"billing": {"keys": ["ab" * 32], "role": "robot"}}


def test_the_only_key_is_revoked(admin: Callable[..., Admin], echo: EchoInstance, look: Callable[..., Reader]) -> None:
    key = "the-only-key-of-all"
    only = {"billing": hashlib.sha256(key.encode()).hexdigest()}
    api = admin({"auth": {"api_key": {"consumers": only}}}, all=echo)
    assert api.running.get("/", f"X-API-Key: {key}").status == 200
    reader = look(api, path="/consumers")
    reader.choose("Key", re.compile("billing"))
    reader.click("button", "Revoke key")
    reader.confirm("Revoke")
    reader.sees(re.compile("^The key .* is revoked"))
    assert api.running.get("/", f"X-API-Key: {key}").status == 401


def test_a_token_from_its_making_to_its_end(
    admin: Callable[..., Admin], echo: EchoInstance, look: Callable[..., Reader]
) -> None:
    api = admin(all=echo)
    reader = look(api, path="/consumers")
    reader.click("button", "New token")
    reader.page.get_by_role("dialog").get_by_label("Name").fill("grafana")
    reader.confirm("Make it")
    secret = shown_secret(reader)
    bearer = {"Authorization": f"Bearer {secret}"}
    ask = httpx.get(f"http://{api.address}/status", headers=bearer)
    assert ask.status_code == 200
    assert httpx.post(f"http://{api.address}/config/reload", headers=bearer).status_code == 403
    assert "valid" in reader.row("grafana").inner_text()

    reader.choose("Token", "grafana")
    reader.click("button", "Rotate")
    reader.confirm("Rotate")
    assert shown_secret(reader) != secret
    reader.choose("Token", "grafana")
    reader.click("button", re.compile("^Revoke$"))
    reader.confirm("Revoke")
    reader.sees("The token grafana is revoked")
    assert httpx.get(f"http://{api.address}/status", headers=bearer).status_code == 401
    reader.row(re.compile("grafana.*revoked"))


def test_the_tokens_of_a_user_are_refused(
    admin: Callable[..., Admin], echo: EchoInstance, look: Callable[..., Reader]
) -> None:
    secret = "a secret that is quite long enough for HS256"
    api = admin({"auth": {"jwt": {"secret": secret}}}, all=echo)
    bearer = f"Authorization: Bearer {make_token({'sub': 'ada', 'iat': int(time.time()) - 10}, secret=secret)}"
    assert api.running.get("/", bearer).status == 200
    reader = look(api, path="/consumers")
    reader.page.get_by_label("Id", exact=True).fill("ada")
    reader.click("button", "Refuse")
    reader.confirm("Refuse")
    reader.sees("Refused from now on: ada")
    reader.sees("1 revocation in force.")
    assert api.running.get("/", bearer).status == 401
