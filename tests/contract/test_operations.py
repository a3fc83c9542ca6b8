"""The OpenAPI document of the admin API is one that people can read and clients can be generated from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pylae.admin.app import application
from pylae.admin.problems import MEDIA_TYPE
from pylae.config.builder import ConfigBuilder
from pylae.runtime.runtime import Runtime

NAMES = {
    "apply_config": "PUT /config",
    "beat_instance": "PUT /services/{service}/instances/{instance}/heartbeat",
    "begin_maintenance": "PUT /maintenance",
    "begin_maintenance_of_route": "PUT /maintenance/routes/{name}",
    "begin_maintenance_of_service": "PUT /maintenance/services/{name}",
    "cancel_rollout": "POST /rollout/cancel",
    "create_token": "POST /tokens",
    "create_trace_token": "POST /traces",
    "diff_config": "POST /config/diff",
    "diff_entry": "GET /history/{number}/diff",
    "drain_instance": "POST /services/{service}/instances/{instance}/drain",
    "end_maintenance": "DELETE /maintenance",
    "end_maintenance_of_route": "DELETE /maintenance/routes/{name}",
    "end_maintenance_of_service": "DELETE /maintenance/services/{name}",
    "get_cache": "GET /cache",
    "get_config": "GET /config",
    "get_config_schema": "GET /config/schema",
    "get_entry": "GET /history/{number}",
    "get_entry_config": "GET /history/{number}/config",
    "get_fleet": "GET /fleet",
    "get_health": "GET /health",
    "get_liveness": "GET /live",
    "get_liveness_head": "HEAD /live",
    "get_maintenance": "GET /maintenance",
    "get_metrics": "GET /metrics",
    "get_readiness": "GET /ready",
    "get_readiness_head": "HEAD /ready",
    "get_revocations": "GET /revocations",
    "get_rollout": "GET /rollout",
    "get_service": "GET /services/{service}",
    "get_status": "GET /status",
    "get_summary": "GET /metrics/summary",
    "get_trace": "GET /traces/{trace}",
    "list_audit": "GET /audit",
    "list_breakers": "GET /breakers",
    "list_costs": "GET /costs",
    "list_exchanges": "GET /exchanges",
    "list_history": "GET /history",
    "list_limits": "GET /limits",
    "list_nodes": "GET /nodes",
    "list_services": "GET /services",
    "list_settings": "GET /config/settings",
    "list_tokens": "GET /tokens",
    "list_traces": "GET /traces",
    "look_at_limit": "POST /limits/look",
    "purge_cache": "POST /cache/purge",
    "register_instance": "POST /services/{service}/instances",
    "reload_config": "POST /config/reload",
    "remove_instance": "DELETE /services/{service}/instances/{instance}",
    "reset_breaker": "POST /breakers/{service}/reset",
    "reset_limit": "POST /limits/reset",
    "revoke": "POST /revocations",
    "revoke_token": "DELETE /tokens/{name}",
    "roll_back": "POST /history/{number}/rollback",
    "rotate_token": "POST /tokens/{name}/rotate",
    "tail_exchanges": "GET /exchanges/tail",
    "undrain_instance": "DELETE /services/{service}/instances/{instance}/drain",
    "validate_config": "POST /config/validate",
    "watch_exchanges": "GET /traces/watch",
}
"""What operations are called in generated clients. A name that is here does not change."""


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The document of a gateway that does not run."""
    folder: Path = tmp_path_factory.mktemp("operations")
    builder = ConfigBuilder({"state": str(folder)})
    return application(Runtime(builder, lambda _: builder)).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_names_of_operations_stay(document: dict[str, Any]) -> None:
    found = {operation["operationId"]: name for name, operation in operations(document)}
    assert len(found) == len(list(operations(document))), "two operations have one name"
    assert {name: found.get(name) for name in NAMES} == NAMES
    for name in found:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)


def test_everything_is_described(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["summary"][:1].isupper(), name
        assert len(operation["summary"]) < 100, name
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (name, parameter["name"])
        for status, answer in operation["responses"].items():
            assert answer.get("description") or "$ref" in answer, (name, status)
            assert answer.get("description") != "Successful Response", (name, status)


def test_every_refusal_is_a_problem_document(document: dict[str, Any]) -> None:
    refusal = {"schema": {"$ref": "#/components/schemas/Refusal"}}
    for name, operation in operations(document):
        assert {"400", "403", "500", "503"} <= operation["responses"].keys(), name
        assert ("401" in operation["responses"]) == bool(operation["security"]), name
        for status, answer in operation["responses"].items():
            if "$ref" in answer:
                answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
            if int(status) >= 400:
                assert answer["content"][MEDIA_TYPE] == refusal, (name, status)
    assert document["components"]["schemas"]["Refusal"]["properties"]["problems"]["items"]["$ref"].endswith("/Flaw")
    assert not [name for name in document["components"]["schemas"] if "HTTPValidation" in name]
