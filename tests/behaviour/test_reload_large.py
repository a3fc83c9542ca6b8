"""A running gateway with many routes: a reload works on those that have changed, and on nothing else."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylae import ConfigError, Gateway, engine
from pylae.config.plan import json_of
from support.instance import EchoInstance
from support.running import FromFile

MANY = 400


class Large:
    """A gateway in this process with many routes to one service."""

    def __init__(self, file: Path, instance: EchoInstance) -> None:
        self.file, self._instance = file, instance
        self.write()
        self.running = FromFile(file)
        self.gateway = self.running.gateway

    def write(self, changed: str = "", before: str = "") -> None:
        """Writes the file, with something more in the route in the middle."""
        routes = [f"  - name: route-{index}\n    path: /{index}\n    service: a\n    auth_required: false\n"
                  for index in range(MANY)]  # fmt: skip
        routes[MANY // 2] += changed
        head = f"listeners: [127.0.0.1:0]\nservices: {{a: {{instances: [{self._instance.url}]}}}}\n"
        self.file.write_text(f"{before}{head}routes:\n{''.join(routes)}")

    def reload(self, changed: str = "", before: str = "") -> None:
        """Writes the file and has it read again."""
        self.write(changed, before)
        self.gateway.reload()

    @property
    def anew(self) -> int:
        """How many routes were compiled for the plan in force."""
        return self.gateway.runtime.builder.compiled.anew

    def line(self, text: str) -> int:
        """The first line with a text."""
        return self.file.read_text().partition(text)[0].count("\n") + 1

    @property
    def refused(self) -> int:
        found = re.search(r'pylae_config_applies_total\{result="refused"\} (\d+)', self.gateway.metrics())
        return int(found[1]) if found else 0


@pytest.fixture
def large(tmp_path: Path, echo: EchoInstance) -> Iterator[Large]:
    found = Large(tmp_path / "pylae.yaml", echo)
    yield found
    found.running.stop()


def test_a_reload_of_one_changed_route_plans_only_that(large: Large) -> None:
    assert large.anew == MANY
    for turn in range(3):
        large.reload(f"    strip_prefix: /{MANY // 2}\n    retries: {turn}\n", "# moved\n" * turn)
        assert large.anew == 1
        assert large.running.get(f"/{MANY // 2}").status == 200
        assert large.running.get("/0").status == large.running.get(f"/{MANY - 1}").status == 200
    assert large.gateway.runtime.plan["routes"][MANY // 2]["retries"] == 2


def test_what_is_wrong_with_a_route_has_its_line_and_changes_nothing(large: Large) -> None:
    wrong = ("    retries: many\n", "    service: b\n", "    headers: {x: {pattern: '['}}\n")
    for count, changed in enumerate(wrong, 1):
        with pytest.raises(ConfigError) as refused:
            large.reload(changed, "\n" * count)
        (problem,) = refused.value.problems
        assert problem.line is not None
        assert large.line("name: route-200\n") <= problem.line <= large.line(changed)
        assert large.refused == count
        assert large.running.get("/0").status == 200
    large.reload()
    # It is what it was.
    assert large.anew == 0


def test_a_warning_about_an_unchanged_route_has_the_line_where_it_is_now(
    large: Large, caplog: pytest.LogCaptureFixture
) -> None:
    shadowed = f"  - {{name: same, path: /{MANY // 2}, service: a, auth_required: false}}\n"
    with caplog.at_level(logging.WARNING, "pylae.config"):
        large.reload(shadowed)
        large.reload(shadowed, "# one line\n")
    first, second = (record.getMessage() for record in caplog.records if "never" in record.getMessage())
    assert f":{large.line('name: same') - 1}:" in first
    assert f":{large.line('name: same')}:" in second
    assert large.anew == 0


def test_what_is_wrong_at_a_start_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(
        "listeners: [127.0.0.1:0]\nservices: {a: {instances: [http://127.0.0.1:1]}}\nroutes:\n"
        "  - {path: /a, service: a, auth_required: false}\n"
        "  - {path: /b, service: a, auth_required: false, headers: {x: {pattern: '['}}}\n"
    )
    gateway = Gateway.from_file(file)
    with pytest.raises(ConfigError) as refused:
        gateway.start()
    (problem,) = refused.value.problems
    assert (problem.line, problem.path) == (5, "routes[1].headers.x")
    file.write_text(file.read_text().replace("'['", "'a'"))
    running = FromFile(file)
    running.stop()


def test_the_engine_warns_of_what_a_check_warns_of(tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    # The second can never match; the third lets in whom the fourth refuses.
    file.write_text(
        "listeners: [127.0.0.1:0]\nservices: {a: {instances: [http://127.0.0.1:1]}}\nroutes:\n"
        "  - {path: /a, service: a, auth_required: false}\n"
        "  - {path: /a, service: a, auth_required: false}\n"
        "  - {pattern: '/b/.*', service: a, auth_required: false}\n"
        "  - {prefix: /b/c, service: a, auth_required: false, ip_access: {allow: [10.0.0.0/8]}}\n"
    )
    gateway = Gateway.from_file(file)
    checked = engine.check(json_of(gateway.builder.plan()))
    running = FromFile(file)
    try:
        for _ in range(2):
            assert running.gateway.engine.warnings() == checked["warnings"]
            running.gateway.reload()
    finally:
        running.stop()
    assert len(checked["warnings"]) == 2
