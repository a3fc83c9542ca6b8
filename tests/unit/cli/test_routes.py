"""`pylae routes`."""

from __future__ import annotations

import json
from pathlib import Path

from pylae.cli.routes import routes


def test_the_table(pylae, shop: Path) -> None:
    result = pylae("routes", shop)
    assert result.exit_code == 0
    header, first, second = result.output.splitlines()
    assert header.split() == ["NAME", "METHODS", "PATH", "CONDITIONS", "SERVICE", "POLICIES", "WHERE"]
    where = (f"{shop}:9", f"{shop}:10")
    assert first.split() == ["get-user", "GET", "pattern", r"^/api/users/(\d+)$", "users", "security_headers", where[0]]
    assert second.split() == ["orders", "GET|POST", "prefix", "/api/orders", "host=shop.example", "orders", where[1]]


def test_the_plan(pylae, shop: Path) -> None:
    result = pylae("routes", shop, "--json")
    told = json.loads(result.output)
    places = [(route["name"], route["place"]) for route in told]
    assert places == [("get-user", f"{shop}:9:5"), ("orders", f"{shop}:10:5")]


def test_conditions(pylae, shop: Path) -> None:
    shop.write_text(
        shop.read_text().replace(
            "    host: shop.example\n",
            "    headers: {x-tenant: blue}\n    query: {debug: true}\n    priority: 5\n",
        )
    )
    result = pylae("routes", shop)
    assert result.exit_code == 0, result.output
    assert "header:x-tenant=blue query:debug priority=5" in result.output


def test_splits(pylae, tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(
        "services: {stable: {instances: ['http://a']}, canary: {instances: ['http://b']}}\n"
        "routes:\n"
        "  - name: shop\n    prefix: /\n    auth_required: false\n"
        "    split: [{service: stable, weight: 95}, {service: canary, weight: 5, when: {cookie: {beta: true}}}]\n"
        "  - name: beta\n    path: /beta\n    auth_required: false\n"
        "    split: [{service: canary, when: {header: {X-Beta: true}}}, stable]\n"
    )
    result = pylae("routes", file)
    assert result.exit_code == 0, result.output
    assert "stable 95/100, canary 5/100 when" in result.output
    assert "canary when, stable 1/1" in result.output


def test_help_points_to_explain() -> None:
    assert "pylae explain" in (routes.help or "")
