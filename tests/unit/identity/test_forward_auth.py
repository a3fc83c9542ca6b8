"""For how long verdicts are remembered."""

from __future__ import annotations

from http.client import HTTPMessage

import pytest

from pylae.identity.forward_auth import lifetime


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], 60),
        ([("Cache-Control", "private, must-revalidate, x")], 60),
        ([("Cache-Control", "max-age=10")], 10),
        ([("Cache-Control", 'MAX-AGE = "10"')], 10),
        ([("Cache-Control", "max-age=100")], 60),
        ([("Cache-Control", "max-age=20, max-age=10")], 10),
        ([("Cache-Control", "max-age=20"), ("cache-control", "private, max-age=10")], 10),
        ([("Cache-Control", "s-maxage=10")], 60),
        ([("Cache-Control", "max-age=10"), ("Cache-Control", "no-store")], 0),
        ([("Cache-Control", 'No-Cache="x"')], 0),
        ([("Cache-Control", "max-age=-1")], 0),
        ([("Cache-Control", "max-age")], 0),
        ([("Cache-Control", "max-age=1e9")], 0),
        ([("Cache-Control", "max-age=99999999999")], 0),
        ([("Cache-Control", "max-age=10"), ("Age", "4")], 6),
        ([("Cache-Control", "max-age=100"), ("Age", "70")], 30),
        ([("Cache-Control", "max-age=10"), ("Age", "11")], 0),
        ([("Cache-Control", "max-age=10"), ("Age", "x")], 0),
        ([("Cache-Control", "max-age=10"), ("Age", "1"), ("Age", "1")], 0),
        ([("Age", "70")], 60),
    ],
)
def test_what_an_answer_says_of_itself(fields: list[tuple[str, str]], seconds: float) -> None:
    message = HTTPMessage()
    for name, value in fields:
        message[name] = value
    assert lifetime(message, 60.0) == seconds
