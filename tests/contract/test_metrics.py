"""Names of metrics: the guide, the dashboard and the alerts speak of what the page has."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.exposition import promtool
from support.instance import EchoInstance
from support.running import Running
from support.valkey import Valkey

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/guide/metrics.md"
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
DASHBOARD = ROOT / "deploy/grafana/dashboard.json"
OF_PROMETHEUS = {"up": {"job", "instance"}}
"""Metrics that Prometheus makes itself."""


@pytest.fixture
def documented() -> dict[str, tuple[str, set[str], str]]:
    """Type, labels and meaning of each metric, as the guide has them."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*) \| (.*) \|$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 30
    return {name: (kind, {label for label in labels.split(", ") if label}, what) for name, kind, labels, what in rows}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path) as server:
        yield server


def expressions() -> Iterator[str]:
    """All queries of the alerts and the dashboard."""
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    yield from (found["expr"] for found in _with_expression(dashboard))
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield re.sub(r"label_values\((.*), (\w+)\)", r"count by (\2) (\1)", variable["query"]["query"])


def _with_expression(tree: Any) -> Iterator[dict[str, Any]]:
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    if isinstance(tree, dict) and "expr" in tree:
        yield tree
    for child in children:
        yield from _with_expression(child)


def test_the_guide_lists_every_metric(
    documented: dict[str, tuple[str, set[str], str]],
    gateway: Callable[..., Running],
    echo: EchoInstance,
    store: Valkey,
) -> None:
    config = f"""
        cluster: {{name: test, store: "{store.url}"}}
        services: {{all: {{circuit_breaker: true}}}}
        routes: [{{path: /a, service: all, rate_limit: 1, cache: true, access_log: {{output: /dev/null}}}}]
    """
    running = gateway(config, all=echo)
    for path in ("/a", "/a", "/b"):
        running.get(path)
    page = running.gateway.metrics()
    told = re.findall(r"^# HELP (\w+) (.*)\n# TYPE \1 (\w+)$", page, re.MULTILINE)
    assert {name: (kind, what) for name, what, kind in told} == {
        name: (kind, what) for name, (kind, _, what) in documented.items()
    }
    samples = re.findall(r"^(\w+)\{(.*)\} ", page, re.MULTILINE)
    shown = {(re.sub("_(bucket|sum|count)$", "", name), *re.findall(r'(\w+)="', labels)) for name, labels in samples}
    assert len(shown) > 15
    for name, *labels in shown:
        assert set(labels) <= documented[name][1], name


def test_dashboard_and_alerts_use_what_there_is(documented: dict[str, tuple[str, set[str], str]]) -> None:
    known = {name: labels | {"job", "instance"} for name, (_, labels, _) in documented.items()} | OF_PROMETHEUS
    used = set()
    for expression in expressions():
        selectors = re.findall(r"\b(up|(?:pylae|process)_\w+)(?:\{([^}]*)\})?", expression)
        assert selectors, expression
        for name, matchers in selectors:
            family = name if name in known else re.sub("_(bucket|sum|count)$", "", name)
            assert family in known, f"{name} in {expression}"
            used.add(family)
            assert set(re.findall(r'(\w+)(?:=|!=|=~|!~)"', matchers)) <= known[family], expression
            grouped = {label for labels in re.findall(r"by \(([^)]*)\)", expression) for label in labels.split(", ")}
            assert grouped <= known[family], expression
    # Everything is looked at by somebody.
    assert len(used) > 25


def test_prometheus_understands_the_queries(tmp_path: Path) -> None:
    assert "SUCCESS" in promtool("check", "rules", str(ALERTS))
    fixed = [re.sub(r"\$__rate_interval", "5m", expression) for expression in expressions()]
    rules = [{"record": f"query:{number}", "expr": expression} for number, expression in enumerate(fixed)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    assert f"SUCCESS: {len(rules)} rules found" in promtool("check", "rules", str(file))


def test_alerts_go_off(tmp_path: Path) -> None:
    """Prometheus' own test of rules, on figures as the page has them."""
    minutes = 30

    def series(text: str, values: str) -> dict[str, str]:
        name, _, labels = text.partition("{")
        return {"series": name + '{job="pylae",' + labels, "values": values}

    given = [
        series('pylae_requests_total{route="a",service="orders",method="GET",status="2xx"}', f"0+88x{minutes}"),
        series('pylae_requests_total{route="a",service="orders",method="GET",status="5xx"}', f"0+12x{minutes}"),
        series('pylae_requests_total{route="b",service="users",method="GET",status="2xx"}', f"0+96x{minutes}"),
        series('pylae_requests_total{route="b",service="users",method="GET",status="5xx"}', f"0+4x{minutes}"),
        series('pylae_instance_state{service="users",instance_url="http://a",state="down"}', f"1x{minutes}"),
        series('pylae_instance_state{service="users",instance_url="http://a",state="up"}', f"0x{minutes}"),
        series('pylae_instance_state{service="users",instance_url="http://b",state="up"}', f"1x{minutes}"),
        series('pylae_instance_state{service="users",instance_url="http://b",state="down"}', f"0x{minutes}"),
        series('pylae_breaker_state{service="orders",instance_url="",state="open"}', f"1x{minutes}"),
        series('pylae_panics_total{thread="accept"}', f"0x14 1x{minutes}"),
        series('pylae_panics_total{thread="wheel"}', f"1x{minutes}"),
    ]
    users = {"job": "pylae", "service": "users"}
    expected: dict[str, list[dict[str, str]]] = {
        "PylaeTooManyErrors": [{"job": "pylae", "service": "orders", "severity": "critical"}],
        "PylaeManyErrors": [{"job": "pylae", "service": "orders", "severity": "warning"}],
        "PylaeInstanceDown": [{**users, "instance_url": "http://a", "severity": "warning"}],
        "PylaeServiceWithoutInstance": [],
        "PylaeBreakerOpen": [{"job": "pylae", "service": "orders", "severity": "warning"}],
        "PylaeSlow": [],
        "PylaePanicked": [{"job": "pylae", "thread": "accept", "severity": "warning"}],
    }
    summaries = {
        "PylaeTooManyErrors": "12% of the answers of orders are errors",
        "PylaeManyErrors": "12% of the answers of orders are errors",
        "PylaeInstanceDown": "http://a of users is out of use",
        "PylaeBreakerOpen": "A circuit breaker of orders is open",
        "PylaePanicked": "A panic in the gateway (accept): its log says where",
    }
    checks = [
        {
            "eval_time": "20m",
            "alertname": name,
            "exp_alerts": [{"exp_labels": one, "exp_annotations": {"summary": summaries[name]}} for one in labels],
        }
        for name, labels in expected.items()
    ]
    test = {"interval": "1m", "input_series": given, "alert_rule_test": checks}
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": [test]}), encoding="utf-8")
    promtool("test", "rules", str(file))
