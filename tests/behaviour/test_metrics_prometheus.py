"""A real Prometheus reads the gateway as the guide says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from support.admin import Admin
from support.instance import EchoInstance
from support.peer import wait_until
from support.programs import program

ALERTS = Path(__file__).parents[2] / "deploy/prometheus/alerts.yaml"


@contextmanager
def prometheus(folder: Path, config: dict[str, Any]) -> Iterator[httpx.Client]:
    """A Prometheus on a port of its own, and a client of its API."""
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    options = [f"--config.file={file}", f"--storage.tsdb.path={folder}/data", "--web.listen-address=127.0.0.1:0"]
    process = subprocess.Popen([program("prometheus"), *options], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        lines = iter(process.stderr.readline, "")
        address = next(found[1] for line in lines if (found := re.search(r'"Listening on" address=(\S+)', line)))
        with httpx.Client(base_url=f"http://{address}/api/v1", timeout=30) as client:
            wait_until(lambda: client.get(f"http://{address}/-/ready").status_code == 200)
            yield client
    finally:
        process.kill()
        process.communicate()


def test_it_reads_every_figure(admin: Callable[..., Admin], echo: EchoInstance, tmp_path: Path) -> None:
    config = "routes: [{name: 'a \"b\" \\ {c}', path: /a, service: all}, {name: gone, prefix: /gone, service: all}]"
    with admin(config, all=echo) as api:
        for path in ("/a", "/a", "/nowhere"):
            api.running.get(path)
        token = tmp_path / "token"
        token.write_text(api.token)
        job = {
            "job_name": "pylae",
            "scrape_interval": "100ms",
            "scrape_timeout": "100ms",
            "authorization": {"credentials_file": str(token)},
            "static_configs": [{"targets": [api.address]}],
        }
        with prometheus(tmp_path, {"rule_files": [str(ALERTS)], "scrape_configs": [job]}) as client:

            def query(expression: str) -> dict[tuple[str, ...], float]:
                answer = client.get("/query", params={"query": expression}).json()
                assert answer["status"] == "success", answer
                found = answer["data"]["result"]
                return {tuple(one["metric"].values()): float(one["value"][1]) for one in found}

            wait_until(lambda: sum(query("pylae_requests_total").values()) == 3)
            assert query("sum by (route) (pylae_requests_total)") == {('a "b" \\ {c}',): 2, ("(none)",): 1}
            assert query('up{job="pylae"}').popitem()[1] == 1
            p99 = query("histogram_quantile(0.99, sum by (le) (pylae_request_duration_seconds_bucket))")
            assert 0 < p99[()] < 60
            rules = client.get("/rules").json()["data"]["groups"]
            assert len(rules[0]["rules"]) > 10
            (target,) = client.get("/targets").json()["data"]["activeTargets"]
            assert (target["health"], target["lastError"]) == ("up", "")
            # And without the token it gets nothing.
            token.write_text("wrong-token-of-the-right-length")
            wait_until(lambda: query('up{job="pylae"}').popitem()[1] == 0)
