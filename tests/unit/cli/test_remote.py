from __future__ import annotations

import pytest

from pylae.cli.remote import Identity, Remote


@pytest.mark.parametrize(
    ("address", "secure"),
    [
        ("127.0.0.1:9901", False),
        ("127.9.9.9:9901", False),
        ("localhost:9901", False),
        ("[::1]:9901", False),
        ("unix:/run/pylae.sock", False),
        ("http://127.0.0.1:9901", False),
        ("http://10.0.0.5:9901", False),
        ("https://127.0.0.1:9901", True),
        # Off loopback every admin API speaks it, and the token must not cross a network without.
        ("10.0.0.5:9901", True),
        ("gate.internal:9901", True),
        ("localhost.example.org:9901", True),
        ("[2001:db8::1]:9901", True),
    ],
)
def test_tls_is_spoken_wherever_it_must_be(address: str, secure: bool) -> None:
    assert Remote(address, "token").secure is secure


def test_who_names_an_authority_or_a_certificate_wants_tls() -> None:
    for identity in (Identity(ca="ca.pem"), Identity(cert="me.pem", key="me.key")):
        assert Remote("127.0.0.1:9901", "token", identity=identity).secure
        assert not Remote("http://127.0.0.1:9901", "token", identity=identity).secure
        assert not Remote("unix:/run/pylae.sock", None, identity=identity).secure
