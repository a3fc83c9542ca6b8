"""What the page for people from the textbook names: objects and tests that exist."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guide" / "from-the-textbook.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| (.+?) \| `([\w./]+)::(\w+)` \|$", PAGE, re.MULTILINE)
COMPONENTS = {
    *("APIGateway", "Route", "AuthenticationService", "AuthorizationMiddleware", "RateLimiter", "TokenBucket"),
    *("SlidingWindowRateLimiter", "LoadBalancer", "HealthChecker", "CircuitBreaker", "CircuitBreakerOpenError"),
    *("Cache", "ServiceRegistry", "MetricsCollector", "setup_api_gateway", "cors_middleware", "logging_middleware"),
    *("security_headers_middleware", "validation_middleware", "response_transform_middleware"),
}


def test_every_component_has_a_row() -> None:
    table = PAGE.partition("## What is what")[2].partition("\n## ")[0]
    assert len(ROWS) == sum(line.startswith("| `") for line in table.splitlines()), "every row names a test"
    assert {row[0].strip("`") for row in ROWS} >= COMPONENTS


@pytest.mark.parametrize(("file", "test"), sorted({(row[2], row[3]) for row in ROWS}))
def test_the_tests_exist(file: str, test: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(pylae(?:\.\w+)+)`", PAGE))))
def test_the_names_exist(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    try:
        assert getattr(import_module(module), attribute) is not None
    except AttributeError:
        import_module(name)
