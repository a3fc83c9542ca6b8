"""Every alert goes off on what a gateway in trouble really exports, and none on what a healthy one does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pylae import ConfigError, Gateway
from pylae.maintenance.switch import Switch
from support.exposition import Page, promtool
from support.instance import EchoInstance, RawInstance
from support.names import NameServer
from support.peer import wait_until
from support.running import Running, configure

ALERTS = Path(__file__).parents[2] / "deploy/prometheus/alerts.yaml"
MINUTES = 30
FAILED = b"HTTP/1.1 502 Oops\r\nContent-Length: 0\r\n\r\n"


def names() -> set[str]:
    """All alerts."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"]}


def values(name: str, counts: bool, value: float) -> str:
    """A sample over time: a counter that has counted goes on to, once a second; a state stays."""
    if counts and value > 0:
        return f"0+{120 if name.endswith('_sum') else 60}x{MINUTES}"
    return f"{value}x{MINUTES}"


def series(page: Page, replaced: dict[str, float]) -> list[dict[str, str]]:
    """What is on a page, as Prometheus' test of rules takes it. `replaced` has other values for some names."""
    found = []
    for family in page.families.values():
        for sample in family.samples:
            labels = {"job": "pylae", "instance": "gate:9901", **sample.labels}
            told = ",".join(f'{label}="{text}"' for label, text in labels.items())
            counts = family.type in ("counter", "histogram")
            value = replaced.get(sample.name, sample.value)
            found.append({"series": f"{sample.name}{{{told}}}", "values": values(sample.name, counts, value)})
    return found


def assert_firing(page: Page, up: int, alerts: set[str], folder: Path, **replaced: float) -> None:
    """Exactly these alerts have gone off after a while."""
    given = [*series(page, replaced), {"series": 'up{job="pylae",instance="gate:9901"}', "values": f"{up}x{MINUTES}"}]
    firing = 'group by (alertname) (ALERTS{alertstate="firing"})'
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(alerts)]
    check = {"expr": firing, "eval_time": f"{MINUTES - 5}m", "exp_samples": expected}
    test = {"interval": "1m", "input_series": given, "promql_expr_test": [check]}
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": [test]}), encoding="utf-8")
    promtool("test", "rules", str(file))


@pytest.fixture
def name_server() -> Any:
    with NameServer() as server:
        yield server


def test_all_go_off(gateway: Callable[..., Running], dead_url: str, name_server: NameServer, tmp_path: Path) -> None:
    dns = {"name": "lost.test", "port": 1, "resolvers": [name_server.address]}
    broken = {"failure_threshold": 2, "timeout": "1h"}
    services: dict[str, Any] = {
        "failing": {"circuit_breaker": broken, "retry_budget": {"ratio": 0, "min_per_second": 0}},
        "dead": {"instances": [dead_url], "health_check": {"path": "/", "interval": "10ms", "unhealthy_after": 1}},
        "narrow": {"max_in_flight": 1, "queue": {"size": 0}},
        "slow": {},
        "lost": {"discovery": {"dns": dns}},
        "tokenless": {
            "instances": [dead_url],
            "client_credentials": {"token_url": dead_url, "client_id": "gateway", "client_secret": "secret"},
        },
    }
    routes = [
        {"name": name, "path": f"/{name}", "service": name, "access_log": {"output": "/dev/full"}} for name in services
    ]
    cluster = {"name": "alone", "store": dead_url.replace("http://", "valkey://")}
    config = {
        "services": services,
        "routes": routes,
        "limits": {"max_connections": 2},
        "cluster": cluster,
        "telemetry": {"logs": dead_url},
        "hooks": [{"on_request": "support.hooked:sleepy", "routes": "failing", "budget": "1ms"}],
    }
    with RawInstance(*[FAILED] * 9) as failing, RawInstance() as narrow, RawInstance() as slow:
        running = gateway(config, failing=failing, narrow=narrow, slow=slow)
        statuses = [running.get(path).status for path in ("/failing", "/failing", "/failing", "/lost")]
        assert statuses == [502, 502, 503, 503]
        with contextlib.ExitStack() as clients:
            clients.enter_context(running.connect()).send(b"GET /narrow HTTP/1.1\r\nHost: a\r\n\r\n")
            narrow.accept().read_request()
            assert running.get("/narrow").status == 503
            # Those that are busy make no room.
            while Page.of(running.gateway).value("pylae_connections_refused_total") == 0:
                with contextlib.suppress(OSError):
                    clients.enter_context(running.connect()).send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(ConfigError):
            running.gateway.apply(Gateway(**configure("routes: [{path: /x, service: missing}]")))

        def troubled() -> bool:
            page = Page.of(running.gateway)
            dropped = page.value("pylae_access_log_lines_total", result="dropped")
            return dropped > 0 and page.value("pylae_instance_state", service="dead", state="down") == 1

        wait_until(troubled)
        page = Page.of(running.gateway)
    # So many descriptors are not opened for it, and nothing panics for it.
    assert {"process_open_fds", "process_max_fds", "pylae_panics_total"} <= {name for name, _ in page.samples}
    few = {"process_open_fds": 900.0, "process_max_fds": 1000.0, "pylae_panics_total": 1.0}
    few |= {"pylae_overload_level": 1.0, "pylae_own_exhaustion_total": 1.0, "pylae_export_dropped_total": 1.0}
    assert_firing(page, 0, names() - {"PylaeLoginsFail"}, tmp_path, **few)


def test_logins_fail_while_the_provider_is_away(
    gateway: Callable[..., Running], echo: EchoInstance, dead_url: str, tmp_path: Path
) -> None:
    oidc = {"issuer": dead_url, "client_id": "gateway"}
    running = gateway({"auth": {"oidc": oidc}, "routes": [{"prefix": "/", "service": "all"}]}, all=echo)
    assert running.get("/oauth2/login").status == 503
    # What clients do wrong is no reason.
    assert running.get("/oauth2/callback").status == 400
    wait_until(lambda: Page.of(running.gateway).value("pylae_requests_total") == 2)
    page = Page.of(running.gateway)
    assert len(page.by("pylae_login_failures_total", "reason")) == 2
    alerts = {"PylaeLoginsFail", "PylaeManyErrors", "PylaeTooManyErrors"}
    assert_firing(page, 1, alerts, tmp_path, pylae_request_duration_seconds_sum=0.0)


def test_a_service_that_nobody_has_joined_is_without_instance(gateway: Callable[..., Running], tmp_path: Path) -> None:
    running = gateway("services: {all: {discovery: {heartbeat: {}}}}")
    assert_firing(Page.of(running.gateway), 1, {"PylaeServiceWithoutInstance"}, tmp_path)


def test_none_goes_off_where_all_is_well(gateway: Callable[..., Running], echo: EchoInstance, tmp_path: Path) -> None:
    config = """
        services: {all: {circuit_breaker: true, health_check: {path: /, interval: 10ms}, max_in_flight: 5}}
        routes: [{path: /, service: all, access_log: {output: /dev/null}}]
    """
    running = gateway(config, all=echo)
    for path in ("/", "/", "/nowhere"):
        running.get(path)
    wait_until(lambda: Page.of(running.gateway).value("pylae_requests_total") == 3)
    # A counter of durations that goes up by the second is slow; here it stands still.
    page = Page.of(running.gateway)
    assert page.value("pylae_access_log_lines_total", result="dropped") == 0
    assert_firing(page, 1, set(), tmp_path, pylae_request_duration_seconds_sum=0.0)


def test_maintenance_is_no_failure(gateway: Callable[..., Running], echo: EchoInstance, tmp_path: Path) -> None:
    running = gateway({"state": str(tmp_path / "state")}, all=echo)
    switch = Switch("service", "all", "shut", 60, "2026-01-01T00:00:00+00:00", "somebody")
    assert running.gateway.runtime.switches.switch(switch)
    assert running.get("/").status == 503
    wait_until(lambda: Page.of(running.gateway).value("pylae_requests_total") == 1)
    page = Page.of(running.gateway)
    assert page.by("pylae_maintenance", "scope", "name") == {("service", "all"): 1}
    assert_firing(page, 1, set(), tmp_path, pylae_request_duration_seconds_sum=0.0)
