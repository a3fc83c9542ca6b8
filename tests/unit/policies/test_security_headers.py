from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pylae.policies.security_headers import SecurityHeaders


def dump(**settings: Any) -> dict[str, Any]:
    return SecurityHeaders.model_validate(settings).model_dump(mode="json")


def test_defaults() -> None:
    assert dump() == {
        "nosniff": True,
        "frame_options": "DENY",
        "xss_protection": "1; mode=block",
        "referrer_policy": "strict-origin-when-cross-origin",
        "hsts": {"when": "auto", "max_age": 31536000.0, "include_subdomains": True, "preload": False},
        "csp": None,
    }


@pytest.mark.parametrize("off", [False, None])
def test_each_can_be_switched_off(off: bool | None) -> None:
    dumped = dump(frame_options=off, xss_protection=off, referrer_policy=off, csp=off, hsts=off)
    assert dumped["hsts"]["when"] == "off"
    assert {value for name, value in dumped.items() if name not in ("nosniff", "hsts")} == {None}


@pytest.mark.parametrize(
    ("written", "when"), [("always", "always"), (True, "auto"), (False, "off"), ({"when": "off"}, "off"), ({}, "auto")]
)
def test_hsts(written: object, when: str) -> None:
    assert dump(hsts=written)["hsts"]["when"] == when


@pytest.mark.parametrize("value", ["", "a\r\nX: y", "a\n", "a  b", " a", "ä", "a" * 9000, True, 5])
def test_values_that_would_break_the_head_are_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        dump(csp=value)
