"""The settings of the running configuration, and where each of them was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.admin import Admin
from support.instance import EchoInstance
from support.running import FromFile

SECRET = "a secret that is quite long enough for HS256"
MAIN = f"""
include: routes/*.yaml
listeners: ["127.0.0.1:0"]
workers: 1
admin: 127.0.0.1:0
state: state
auth: {{jwt: {{secret: {SECRET}}}}}
services:
  users:
    instances: [URL]
"""
ROUTES = """
routes:
  - name: orders
    prefix: /orders
    service: users
    rate_limit: 5/minute
  - {name: "<script>", prefix: /x, service: users, auth_required: false}
"""


@pytest.fixture
def api(tmp_path: Path, echo: EchoInstance) -> Iterator[Admin]:
    """A gateway whose configuration is in two files, and has a route that code has added."""
    (tmp_path / "pylae.yaml").write_text(MAIN.replace("URL", echo.url))
    (tmp_path / "routes").mkdir()
    (tmp_path / "routes/orders.yaml").write_text(ROUTES)
    running = FromFile(tmp_path / "pylae.yaml")
    try:
        with Admin(running) as client:
            yield client
    finally:
        running.stop()


def found(api: Admin, **query: Any) -> dict[str, dict[str, Any]]:
    answer = api.http.get("/config/settings", params=query)
    assert answer.status_code == 200, answer.text
    return {one["path"]: one for one in answer.json()["settings"]}


def test_the_place_of_each_setting(api: Admin, tmp_path: Path) -> None:
    settings = found(api)
    route = settings["routes[0].prefix"]
    file = str(tmp_path / "routes/orders.yaml")
    assert route == {
        "path": "routes[0].prefix",
        "name": "orders",
        "value": "/orders",
        "file": file,
        "line": 4,
        "column": 5,
    }
    # The short form of a limit stands in one place.
    assert {one["line"] for path, one in settings.items() if path.startswith("routes[0].rate_limit")} == {6}
    assert settings["services.users.instances[0].url"]["file"] == str(tmp_path / "pylae.yaml")
    assert settings["workers"]["line"] == 4
    assert SECRET not in str(settings)
    (secret,) = (one["value"] for path, one in settings.items() if path.startswith("auth.jwt"))
    assert secret.startswith("(hidden:")


def test_a_search(api: Admin) -> None:
    # In the path, in the name of what it belongs to, in the value; whatever the case of letters.
    assert set(found(api, search="INSTANCES")) == {"services.users.instances[0].url"}
    assert {"routes[0].service", "routes[0].name"} < set(found(api, search="orders"))
    assert set(found(api, search="/x")) == {"routes[1].prefix"}
    assert found(api, search="nowhere") == {}
    # A secret is not found.
    assert found(api, search=SECRET[:12]) == {}


def test_what_is_below_a_path(api: Admin) -> None:
    paths = set(found(api, below="routes[1]"))
    assert paths == {f"routes[1].{key}" for key in ("name", "prefix", "service", "auth_required")}
    assert set(found(api, below="routes[1].name")) == {"routes[1].name"}
    # No text, but steps.
    assert found(api, below="routes[1].nam") == {}


def test_the_list_is_bounded(api: Admin) -> None:
    answer = api.get("/config/settings?most=2")
    assert (len(answer["settings"]), answer["more"]) == (2, True)
    assert not api.get("/config/settings")["more"]
    for wrong in ("most=1001", "most=0", f"search={'x' * 201}"):
        assert api.http.get(f"/config/settings?{wrong}").status_code == 422


def test_what_came_over_the_api_and_what_code_added(admin: Callable[..., Admin], echo: EchoInstance) -> None:
    with admin("admin: 127.0.0.1:0", all=echo) as api:
        api.running.gateway.add_route(name="added", prefix="/added", service="all", auth_required=False)
        document = api.get("/config")
        api.running.gateway.apply()
        added = found(api, search="added")["routes[1].prefix"]
        assert (added["file"], added["column"]) == (__file__, None)
        answer = api.http.put("/config", json=document, headers={"If-Match": "*"})
        assert answer.status_code == 200, answer.text
        settings = found(api)
        assert settings["routes[0].name"]["file"] is None
        assert settings["routes[0].name"]["line"] is None
        assert settings["routes[1].prefix"]["file"] == __file__


def test_no_place_is_in_a_file_that_does_not_have_it(api: Admin, tmp_path: Path) -> None:
    """After an apply over the API, the lines of the document are those of no file."""
    asked = {"target": "/orders/7"}
    assert api.get("/routes")["routes"][0]["place"] == f"{tmp_path}/routes/orders.yaml:3"
    assert f"{tmp_path}/routes/orders.yaml:3" in "\n".join(api.post("/explain", **asked)["lines"])
    answer = api.http.put("/config", json=api.get("/config"), headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text
    routes = api.get("/routes")
    assert routes["routes"][0]["place"] == routes["services"]["users"] == "the admin API"
    told = "\n".join(api.post("/explain", **asked)["lines"])
    assert "the admin API" in told
    assert f"{tmp_path}/pylae.yaml:" not in told
