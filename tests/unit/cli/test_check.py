"""`pylae check`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import pytest

from pylae import _native

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


def test_each_file_is_read_and_parsed_once(pylae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main, part = tmp_path / "pylae.yaml", tmp_path / "part.yaml"
    main.write_text("include: part.yaml\nservices: {a: {instances: [http://127.0.0.1:1]}}\n")
    part.write_text("routes:\n- {path: /, service: a, auth_required: false}\n")
    opened, parsed = [], []
    parse = _native.read_document

    def note_parsed(text: str, *given: Any) -> object:
        parsed.append(text)
        return parse(text, *given)

    def note_opened(path: Path, *given: Any, **named: Any) -> IO[Any]:
        opened.append(path)
        return open(path, *given, **named)  # noqa: PTH123 (this is what stands in for it)

    monkeypatch.setattr(_native, "read_document", note_parsed)
    monkeypatch.setattr(Path, "open", note_opened)
    assert pylae("check", main).exit_code == 0
    monkeypatch.undo()
    assert parsed == [main.read_text(), part.read_text()]
    assert [path for path in opened if path in (main, part)] == [main, part]


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


OVERLAPPING = """
listeners: ["127.0.0.1:8080"]
auth: {jwt: {secret: a secret of more than thirty-two bytes, algorithms: HS256}}
services: {s: {instances: ["http://127.0.0.1:9001"]}}
routes:
  - {name: everything, prefix: /, service: s, auth_required: false}
  - {name: login, path: /api/login, service: s, auth_required: false}
  - {name: api, prefix: /api, service: s, roles: editor}
  - name: pictures
    pattern: '^/.*[.]png$'
    service: s
    auth_required: false
  - {name: office, path: "/api/office/{id}", service: s, roles: editor, ip_access: {allow: 10.0.0.0/8}}
"""


def test_routes_that_differ_in_whom_they_let_in(pylae, tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(OVERLAPPING)
    result = pylae("check", file)
    assert result.exit_code == 0
    assert result.stderr == (
        f"{file}:10:14: routes[3].pattern: warning: the route takes /api/.png from `api` (routes[2]) and lets in some "
        "whom `api` refuses: a pattern goes before a prefix. Narrow either, give `api` a higher `priority`, or guard "
        "both alike\n"
    )
    file.write_text(OVERLAPPING.replace("name: api,", "name: api, priority: 1,"))
    warnings = pylae("check", file).stderr.splitlines()
    assert len(warnings) == 2
    assert all("can never match: `api`" in warning for warning in warnings)
    file.write_text(OVERLAPPING.replace("name: api,", "name: api, priority: 1, method: GET,"))
    warnings = pylae("check", file).stderr.splitlines()
    assert "takes /api/office/x from `office` (routes[4])" in warnings[0]
    assert "it has the higher `priority`" in warnings[0]
    file.write_text(OVERLAPPING.replace("'^/.*[.]png$'", "'^/(assets/.*)?[^/]+[.]png$'"))
    assert (pylae("check", file).exit_code, pylae("check", file).stderr) == (0, "")


PROGRAM = """
import os
from pylae import Gateway, Route

gateway = Gateway(hooks={"processes": 1})
gateway.add_route(Route(name="all", prefix="/", service_url="http://127.0.0.1:9", auth_required=False))


def add(name):
    def inside(request):
        pass

    gateway.on_request(inside)


add("one")
if os.environ.pop("FIRST_TIME", None):
    add("two")
    gateway.on_request(lambda request: None)
"""


def test_hooks_that_hook_hosts_cannot_find(pylae, tmp_path: Path) -> None:
    program = tmp_path / "gateway.py"
    program.write_text(PROGRAM)
    assert pylae("check", program).exit_code == 0
    result = pylae("check", program, env={"FIRST_TIME": "1"})
    assert (result.exit_code, result.stdout) == (1, "")
    assert "hooks.processes: hook hosts cannot load the hooks: HookError: " in result.stderr
    assert "<lambda> cannot be found by a hook host: it is made when the program runs" in result.stderr


def test_a_program_that_hook_hosts_cannot_read_is_named(pylae, tmp_path: Path) -> None:
    program = tmp_path / "gateway.py"
    program.write_text(f"{PROGRAM}\nos.unlink(__file__)\n")
    result = pylae("check", program)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"hook hosts cannot load the hooks: {program}: cannot be read: " in result.stderr
