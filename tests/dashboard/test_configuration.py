"""The page about the configuration: searched, edited, refused, applied, compared, rolled back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from support import browser as chromium
from support.admin import Admin
from support.dashboard import Reader
from support.instance import EchoInstance

pytestmark = chromium.needed

FILE = """\
listeners: ["127.0.0.1:0"]
workers: 1
admin: 127.0.0.1:0
state: state
services:
  all: {instances: [URL]}
routes:
  - name: orders
    prefix: /orders
    service: all
    auth_required: false
"""


@pytest.fixture
def api(from_file: Callable[[str], Admin], echo: EchoInstance) -> Admin:
    return from_file(FILE.replace("URL", echo.url))


def write(reader: Reader, document: Any) -> None:
    """Replaces what is in the editor, as somebody who pastes."""
    text = reader.page.get_by_role("textbox", name=re.compile("the configuration"))
    text.click()
    reader.page.keyboard.press("Control+a")
    reader.page.keyboard.insert_text(yaml.safe_dump(document, sort_keys=False))


def with_route(api: Admin, **route: Any) -> Any:
    """The configuration with another route."""
    document = api.get("/config")
    document["routes"].append({"prefix": "/more", "service": "all", "auth_required": False, **route})
    return document


def put(api: Admin, document: Any, reason: str) -> None:
    answer = api.http.put("/config", json=document, headers={"If-Match": "*"}, params={"reason": reason})
    assert answer.status_code == 200, answer.text


def test_a_setting_is_found_with_its_place(api: Admin, look: Callable[..., Reader]) -> None:
    reader = look(api, path="/configuration")
    reader.row("services.all.instances[0]")
    reader.page.get_by_role("searchbox", name=re.compile("Search in settings")).fill("ORDERS")
    reader.sees("4 settings")
    assert reader.row("routes[0].prefix").inner_text().split()[-1].endswith("pylae.yaml:9:5")
    assert not reader.page.get_by_text("services.all").count()


def test_a_configuration_with_errors_is_refused(api: Admin, look: Callable[..., Reader]) -> None:
    reader = look(api, path="/configuration?tab=edit")
    revision = api.get("/status")["revision"]
    document = with_route(api, name="more")
    document["routes"][1]["service"] = "nowhere"
    document["routes"][1]["timeout"] = "soon"
    write(reader, document)
    reader.click("button", "Check")
    reader.sees(f"Nothing was changed: revision {revision} is in force.")
    lines = yaml.safe_dump(document, sort_keys=False).splitlines()
    problem = reader.page.get_by_role("listitem").filter(has_text="timeout")
    line = 1 + next(index for index, text in enumerate(lines) if "soon" in text)
    # The place is a button that leads there.
    place = problem.get_by_role("button", name=re.compile(f"line {line}, column"))
    place.click()
    reader.page.wait_for_function("document.activeElement.classList.contains('cm-content')")
    assert reader.page.get_by_role("button", name="Apply").is_disabled()
    assert api.get("/status")["revision"] == revision
    assert api.running.get("/more").status == 404


def test_a_change_is_checked_compared_and_applied(api: Admin, look: Callable[..., Reader]) -> None:
    reader = look(api, path="/configuration?tab=edit")
    write(reader, with_route(api, name="more"))
    reader.click("button", "Check")
    reader.sees(re.compile("It can be used: 1 change "))
    assert "prefix: /more" in reader.row("routes.more").inner_text()
    reader.page.get_by_label("Why, for the history").fill("a route for more")
    reader.click("button", "Apply")
    reader.sees(re.compile("In force, as revision"))
    assert api.running.get("/more").status == 200
    reader.click("link", "History")
    told = reader.row("a route for more").inner_text()
    assert ("admin" in told, "routes" in told) == (True, True)


def test_what_somebody_else_has_applied_is_not_overwritten(api: Admin, look: Callable[..., Reader]) -> None:
    reader = look(api, path="/configuration?tab=edit")
    write(reader, with_route(api, name="more"))
    reader.click("button", "Check")
    reader.sees(re.compile("It can be used"))
    put(api, with_route(api, name="other", prefix="/other"), "somebody else")
    reader.click("button", "Apply")
    reader.sees(re.compile("Refused: revision .* is no longer in force"))
    assert api.running.get("/more").status == 404
    assert api.running.get("/other").status == 200
    # The history has what was in force; what was refused is listed with it.
    reader.click("link", "History")
    assert "refused" in reader.row("no longer in force").inner_text()
    # What was changed after the check has to be checked again.
    reader.click("link", "Edit")
    write(reader, with_route(api, name="more"))
    reader.click("button", "Check")
    reader.sees(re.compile("It can be used"))
    reader.page.keyboard.press("Control+Home")
    write(reader, with_route(api, name="another"))
    reader.sees("Changed since it was checked.")
    assert reader.page.get_by_role("button", name="Apply").is_disabled()


def test_two_entries_are_compared_and_one_is_rolled_back_to(api: Admin, look: Callable[..., Reader]) -> None:
    put(api, with_route(api, name="more"), "more")
    put(api, with_route(api, name="other", prefix="/other"), "other")
    reader = look(api, path="/configuration?tab=history")
    first = str(api.get("/history")["entries"][-1]["number"])
    reader.click("link", first, exact=True)
    entry = reader.page.get_by_role("region", name=f"Entry {first}")
    reader.choose("Compare with", "what is in force")
    reader.sees("routes.other", within=entry)
    reader.sees("routes.more", within=entry)
    reader.choose("Compare with", f"entry {int(first) + 1}")
    reader.sees("routes.more", within=entry)
    assert not entry.get_by_text("routes.other").count()

    reader.click("button", f"Roll back to {first}")
    dialog = reader.page.get_by_role("dialog")
    reader.sees("routes.other", within=dialog)
    dialog.get_by_label("Why, for the history").fill("it was better before")
    reader.confirm("Roll back")
    reader.sees(f"In force again: entry {first}")
    told = reader.row("it was better before").inner_text()
    assert f"rollback to {first}" in told
    assert api.running.get("/other").status == 404
    assert api.running.get("/orders").status == 200


def test_a_rollback_that_would_send_a_secret_elsewhere(
    from_file: Callable[[str], Admin], echo: EchoInstance, look: Callable[..., Reader]
) -> None:
    """The safeguards of the admin API hold, and their reason is shown."""
    secret = '    transform: {request: {set: {X-Token: "a secret"}}}\n'
    api = from_file(FILE.replace("URL", echo.url) + secret)
    document = api.get("/config")
    document["services"]["all"]["instances"] = ["http://127.0.0.1:9"]
    document["routes"][0]["transform"]["request"]["set"] = {"X-Token": "another secret"}
    put(api, document, "moved")
    reader = look(api, path="/configuration?tab=history&entry=1")
    reader.click("button", "Roll back to 1")
    reader.confirm("Roll back")
    reader.sees(re.compile("Refused: "), within=reader.page.get_by_role("dialog"))
    reader.confirm("Cancel")
    assert api.get("/history")["entries"][0]["reason"] == "moved"
