"""`pylae check`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

SHOP = files("pylae.demo").joinpath("pylae.yaml")


def test_a_good_file(pylae, shop: Path) -> None:
    result = pylae("check", shop)
    assert (result.exit_code, result.output) == (0, f"ok {shop}: 2 routes, 2 services\n")


def test_the_shop_is_good(pylae) -> None:
    result = pylae("check", SHOP, env={"JWT_SECRET": "a secret of more than thirty-two bytes, for tests"})
    assert (result.exit_code, result.stderr) == (0, "")


def test_every_problem_has_a_place_and_a_code(pylae, shop: Path) -> None:
    text = shop.read_text()
    shop.write_text(text.replace("service: users,", "service: user,").replace("method: GET|POST", "methd: GET|POST"))
    result = pylae("check", shop)
    assert result.exit_code == 1
    problems = [line for line in result.stderr.splitlines() if not line.startswith("  hint:")]
    assert [line.split(":")[1] for line in problems] == ["9", "12"]
    assert all(line.startswith(f"{shop}:") for line in problems)
    assert "routes[1]" in problems[1]
    assert "users" in result.stderr and "method" in result.stderr
    assert result.stdout == ""


def test_a_file_that_is_not_there(pylae, tmp_path: Path) -> None:
    result = pylae("check", tmp_path / "nowhere.yaml")
    assert result.exit_code == 1
    assert "nowhere.yaml" in result.stderr
    assert "Traceback" not in result.stderr


def test_warnings_do_not_fail(pylae, shop: Path) -> None:
    shop.write_text(
        shop.read_text().replace(
            "policies:",
            "  - {name: again, prefix: /api/orders, method: GET, host: shop.example, service: orders, "
            "auth_required: false}\npolicies:",
        )
    )
    result = pylae("check", shop)
    assert result.exit_code == 0
    assert "warning: " in result.stderr and "can never match" in result.stderr
    assert result.stdout.endswith("3 routes, 2 services, 1 warning\n")
