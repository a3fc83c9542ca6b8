"""Sealed texts: cookies and records that only the gateway can read and make."""

import re

import pytest

from pylae.engine import NativeSealer

OLD, NEW = b"o" * 32, b"n" * 48


def test_the_first_secret_seals_and_all_open():
    old, new, both = NativeSealer([OLD]), NativeSealer([NEW]), NativeSealer([NEW, OLD])
    by_old, by_both = old.seal("session a", b"who"), both.seal("session a", b"who")
    assert both.open("session a", by_old) == new.open("session a", by_both) == b"who"
    assert new.open("session a", by_old) is None
    assert re.fullmatch(r"v1\.[\w-]{8}\.[\w-]{42}", by_old)


def test_what_is_for_another_purpose_or_changed_does_not_open():
    sealer = NativeSealer([OLD])
    text = sealer.seal("session a", b"who")
    for purpose, tried in [
        ("session b", text),
        ("attempt a", text),
        ("session a", text[:-1]),
        ("session a", text + "A"),
        ("session a", text[:20] + ("A" if text[20] != "A" else "B") + text[21:]),
        ("session a", ""),
        ("session a", "v1.é"),
    ]:
        assert sealer.open(purpose, tried) is None, (purpose, tried)
    assert sealer.open("session a", text) == b"who"


@pytest.mark.parametrize("secrets", [[], [b"s" * 31], [OLD, b"short"], [OLD] * 17])
def test_weak_secrets_are_refused(secrets):
    with pytest.raises(ValueError, match=r"secrets? needs?|secrets are needed"):
        NativeSealer(secrets)


def test_too_much_is_refused():
    with pytest.raises(ValueError, match="at most 65536 bytes"):
        NativeSealer([OLD]).seal("record a", bytes(65537))
