"""What the verbs say of a configuration in several files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

MAIN = """\
include: routes/*.yaml
listeners: ["127.0.0.1:0"]
services: {users: {instances: ["http://127.0.0.1:9001"]}}
routes:
  - {name: users, prefix: /users, service: users, auth_required: false}
"""
ORDERS = """\
services: {orders: {instances: ["http://127.0.0.1:9002"]}}
routes:
  - name: orders
    prefix: /orders
    service: orders
    auth_required: false
    cors: {}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the person who types."""
    (tmp_path / "routes").mkdir()
    (tmp_path / "pylae.yaml").write_text(MAIN)
    (tmp_path / "routes" / "orders.yaml").write_text(ORDERS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_check_names_the_files(pylae) -> None:
    checked = pylae("check")
    said = "ok pylae.yaml and 1 file included: 2 routes, 2 services\n   routes/orders.yaml\n"
    assert (checked.exit_code, checked.output) == (0, said)


def test_problems_are_in_the_file_that_has_them(pylae, folder: Path) -> None:
    (folder / "routes" / "orders.yaml").write_text(ORDERS.replace("prefix", "prefx"))
    checked = pylae("check")
    assert checked.exit_code == 1
    told = "routes/orders.yaml:4:5: routes[1].prefx: unknown key `prefx`\n  hint: did you mean `prefix`?"
    assert checked.stderr.startswith(told)


@pytest.mark.usefixtures("folder")
def test_routes_say_where_they_stand(pylae) -> None:
    table = pylae("routes").output.splitlines()
    assert [line.split()[-1] for line in table] == ["WHERE", "pylae.yaml:5", "routes/orders.yaml:3"]
    assert [route["place"] for route in json.loads(pylae("routes", "--json").output)] == [
        "pylae.yaml:5:5",
        "routes/orders.yaml:3:5",
    ]


@pytest.mark.usefixtures("folder")
def test_explain_says_where_settings_stand(pylae) -> None:
    lines = [line.rstrip() for line in pylae("explain", "GET", "/orders/1").output.splitlines()]
    assert "Route orders  routes/orders.yaml:3" in lines
    assert "  cors  routes/orders.yaml:7" in lines
    assert "Service orders  routes/orders.yaml:1" in lines
