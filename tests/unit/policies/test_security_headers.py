from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pylae.policies.security_headers import SecurityHeaders


def dump(**settings: Any) -> dict[str, Any]:
    return SecurityHeaders.model_validate(settings).model_dump(mode="json")


def test_defaults() -> None:
    assert dump() == {
        "content_type_options": "nosniff",
        "frame_options": "DENY",
        "xss_protection": "1; mode=block",
        "referrer_policy": "strict-origin-when-cross-origin",
        "content_security_policy": None,
        "strict_transport_security": "max-age=31536000; includeSubDomains",
        "hsts": "auto",
    }


@pytest.mark.parametrize("off", [False, None])
def test_each_can_be_switched_off(off: bool | None) -> None:
    fields = [name for name in SecurityHeaders.model_fields if name != "hsts"]
    assert {value for name, value in dump(**dict.fromkeys(fields, off)).items() if name != "hsts"} == {None}


@pytest.mark.parametrize(("written", "when"), [("always", "always"), (True, "auto"), (False, "off"), ("off", "off")])
def test_hsts(written: object, when: str) -> None:
    assert dump(hsts=written)["hsts"] == when


@pytest.mark.parametrize("name", ["csp", "content_security_policy"])
def test_csp(name: str) -> None:
    assert dump(**{name: "default-src 'self'"})["content_security_policy"] == "default-src 'self'"


@pytest.mark.parametrize("value", ["", "a\r\nX: y", "a\n", "a  b", " a", "ä", "a" * 9000, True, 5])
def test_values_that_would_break_the_head_are_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        dump(csp=value)
