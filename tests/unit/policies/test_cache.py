from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from pylae import EngineError, Gateway
from pylae.engine import purge_document
from pylae.policies.cache import Cache


def dump(**settings: Any) -> dict[str, Any]:
    return Cache.model_validate(settings).model_dump(mode="json")


def test_defaults() -> None:
    assert dump() == {
        "ttl": 300.0,
        "error_ttl": 0.0,
        "heuristic": 0.0,
        "override": False,
        "per_user": True,
        "vary": [],
        "normalize": [],
        "max_entry": 1048576,
        "stale_while_revalidate": 0.0,
        "stale_if_error": 0.0,
        "wait": 5.0,
        "client_directives": True,
        "ignore_cookies": False,
        "set_cookie": "bypass",
        "cache_status": True,
        "tags": [],
    }


def test_names_have_no_case_and_one_needs_no_list() -> None:
    assert dump(vary="Accept-Language", tags="shop") == dump(vary=["accept-language"], tags=["shop"])
    assert dump(normalize="Accept-Language")["normalize"] == ["accept-language"]


@pytest.mark.parametrize(("heuristic", "fraction"), [(True, 0.1), (False, 0.0), (0.2, 0.2), (1, 1.0)])
def test_heuristic_is_a_fraction(heuristic: float, fraction: float) -> None:
    assert dump(heuristic=heuristic)["heuristic"] == fraction


@pytest.mark.parametrize(
    "settings",
    [
        {"vary": ["X Tenant"]},
        {"vary": ["x"] * 17},
        {"tags": ["a,b"]},
        {"tags": [""]},
        {"ttl": -1},
        {"error_ttl": -1},
        {"max_entry": -1},
        {"heuristic": 1.1},
        {"heuristic": -0.1},
        {"heuristic": "much"},
        {"normalize": ["Accept"]},
        {"normalize": [1]},
        {"set_cookie": "keep"},
    ],
)
def test_wrong(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        dump(**settings)


def test_purges() -> None:
    assert json.loads(purge_document(None, None, None, None)) == "all"
    assert json.loads(purge_document(None, None, None, "t")) == {"tag": "t"}
    assert json.loads(purge_document("/a?x", None, None, None)) == {"target": {"host": None, "path": "/a?x"}}
    assert json.loads(purge_document("/a?", None, None, None)) == {"target": {"host": None, "path": "/a?"}}
    assert json.loads(purge_document(None, "http://h:81", None, None)) == {"prefix": {"host": "h:81", "path": "/"}}
    with pytest.raises(EngineError):
        purge_document("/a", None, None, "t")
    with pytest.raises(EngineError):
        Gateway().purge_cache()
