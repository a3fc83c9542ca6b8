"""The admin API does what its own document says: schemathesis asks for all that the document allows, and for what it
does not.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema

from support.admin import Admin
from support.instance import EchoInstance
from support.running import FromFile, Running, configure

CONFIG = """
services:
  beating: {discovery: {heartbeat: {}}}
  all: {circuit_breaker: {}}
routes:
  - {name: cached, prefix: /cached, service: all, cache: 1m}
  - {name: limited, prefix: /limited, service: all, rate_limit: 10/s}
  - {name: rest, prefix: /, service: beating}
"""
BEATING = "192.0.2.1:80"
"""An instance that is registered."""

LEFT_OUT = {
    "positive_data_acceptance": {
        "PUT /config": "what makes an object a configuration is in /config/schema",
        "POST /config/diff": "what makes an object a configuration is in /config/schema",
        "POST /services/{service}/instances": "not every text is the URL of an instance",
        "POST /revocations": "not every text is a duration",
        "POST /cache/purge": "not every text is a URL or a path",
        "POST /tokens": "not every text is a name, a scope or a duration",
        "POST /tokens/{name}/rotate": "not every text is a duration",
        "PUT /log": "what asks for nothing is refused",
        **dict.fromkeys(
            ["PUT /maintenance", "PUT /maintenance/services/{name}", "PUT /maintenance/routes/{name}"],
            "not every text is a duration, and clients are told one line",
        ),
    },
    "negative_data_rejection": {
        "POST /config/validate": "it answers what is wrong with whatever it gets",
    },
}
"""Checks that are not made of an operation, and why. Nothing else is left out."""


INSTANCE = {"service": "beating", "instance": BEATING}
THERE = {
    "GET /services/{service}": {"service": "all"},
    "POST /breakers/{service}/reset": {"service": "all"},
    "POST /services/{service}/instances": INSTANCE,
    "PUT /services/{service}/instances/{instance}/heartbeat": INSTANCE,
    "DELETE /services/{service}/instances/{instance}": INSTANCE,
    "POST /services/{service}/instances/{instance}/drain": INSTANCE,
    "DELETE /services/{service}/instances/{instance}/drain": INSTANCE,
    "GET /history/{number}": {"number": "1"},
    "GET /history/{number}/config": {"number": "1"},
    "GET /history/{number}/diff": {"number": "1"},
    "POST /history/{number}/rollback": {"number": "1", "If-Match": "*"},
    "PUT /maintenance/services/{name}": {"name": "all"},
    "DELETE /maintenance/services/{name}": {"name": "all"},
    "PUT /maintenance/routes/{name}": {"name": "limited"},
    "DELETE /maintenance/routes/{name}": {"name": "limited"},
    "POST /tokens/{name}/rotate": {"name": "dashboard"},
    "DELETE /tokens/{name}": {"name": "dashboard"},
}
"""Operations that are asked of what is there."""
WAITS = {"GET /traces/watch": {"timeout": "0.2", "header": "Host"}}
"""Operations that wait for what may never come, how long they are to wait, and for what: made wrong, a list of texts
would have a null, which is sent as the text `null`."""

There = Mapping[str, Mapping[str, str]]


def serve(running: Running, stop: threading.Event) -> None:
    """Sends requests through the gateway, so that there is something to watch."""
    while not stop.wait(0.05):
        running.get("/cached")


@pytest.fixture
def api(echo: EchoInstance, tmp_path: Path) -> Iterator[Admin]:
    """The admin API of a gateway that has something of everything."""
    config = {"admin": "127.0.0.1:0", "state": str(tmp_path / "state"), **configure(CONFIG, all=echo)}
    file = tmp_path / "pylae.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    running = FromFile(file)
    try:
        with Admin(running) as api:
            api.post("/services/beating/instances", url=f"http://{BEATING}")
            api.post("/tokens", name="dashboard", scopes=["read"])
            stop = threading.Event()
            traffic = threading.Thread(target=serve, args=(running, stop))
            traffic.start()
            try:
                yield api
            finally:
                stop.set()
                traffic.join()
    finally:
        running.stop()


def settings(api: Admin, there: There, examples: int, seed: int) -> SchemathesisConfig:
    """How the API is asked: without the checks that are left out, and of what is there."""
    asked: dict[str, dict[str, Any]] = {
        name: {"include-name": name} for name in (*WAITS, *there, *itertools.chain(*LEFT_OUT.values()))
    }
    for check, reasons in LEFT_OUT.items():
        for operation in reasons:
            asked[operation].setdefault("checks", {})[check] = {"enabled": False}
    for operation, parameters in (*WAITS.items(), *there.items()):
        asked[operation]["parameters"] = dict(parameters)
        if "number" in parameters:
            # What is given is not made wrong: another one would be.
            asked[operation]["checks"] = {"negative_data_rejection": {"enabled": False}}
    return SchemathesisConfig.from_dict(
        {
            "base-url": f"http://{api.address}",
            "headers": api.credential,
            "seed": seed,
            "workers": 1,
            "request-timeout": 30,
            # The tail has no end.
            "max-stream-events": 1,
            "operations": list(asked.values()),
            "checks": {"missing_required_header": {"expected-statuses": [428]}},
            "generation": {"max-examples": examples, "database": "none", "deterministic": True},
            # It follows links between operations; there are none in the document.
            "phases": {"stateful": {"enabled": False}},
        }
    )


def findings(api: Admin, config: SchemathesisConfig) -> list[str]:
    """What answers had that the document does not have, and how often."""
    document = api.get("/openapi.json")
    found: Counter[str] = Counter()
    asked: set[str] = set()
    for event in from_schema(schemathesis.openapi.from_dict(document, config=config)).execute():
        if isinstance(event, events.NonFatalError):
            found[f"{event.label}: {event.value}"] += 1
        elif isinstance(event, events.FatalError):
            found[str(event.exception)] += 1
        elif isinstance(event, events.ScenarioFinished):
            asked.add(event.recorder.label)
            for node in itertools.chain(*event.recorder.checks.values()):
                if node.status is Status.FAILURE and (info := node.failure_info):
                    found[
                        f"{event.recorder.label}: {info.failure.title}: {info.failure.message}: {info.code_sample}"
                    ] += 1
    assert asked == {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    return [f"{text} ({number} times)" for text, number in found.items()]


@pytest.mark.timeout(300)
def test_it_does_what_its_document_says(api: Admin) -> None:
    assert findings(api, settings(api, THERE, 2, seed=1)) == []


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("there", [{}, THERE], ids=["nothing", "there"])
@pytest.mark.parametrize("seed", range(5))
def test_it_does_what_its_document_says_however_it_is_asked(api: Admin, there: There, seed: int) -> None:
    assert findings(api, settings(api, there, 100, seed)) == []


def test_the_examples_of_the_document_are_answered(api: Admin) -> None:
    """What is left out above: requests that are accepted."""
    schema = schemathesis.openapi.from_dict(api.get("/openapi.json"))
    read = api.http.get("/config")
    put = api.http.put("/config", content=read.content, headers={"If-Match": read.headers["ETag"]})
    diff = api.http.post("/config/diff", content=read.content)
    registered = api.http.post(
        "/services/beating/instances", json={"url": "http://192.0.2.2:80", "weight": 2, "ttl": 9}
    )
    revoked = api.http.post("/revocations", json={"user": "7", "ttl": "12h"})
    assert [one.status_code for one in (read, put, diff, registered, revoked)] == [200, 200, 200, 201, 200]
    schema["/config"]["GET"].validate_response(read)
    schema["/config"]["PUT"].validate_response(put)
    schema["/config/diff"]["POST"].validate_response(diff)
    schema["/services/{service}/instances"]["POST"].validate_response(registered)
    schema["/revocations"]["POST"].validate_response(revoked)
