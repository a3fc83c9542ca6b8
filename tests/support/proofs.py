"""Proofs of DPoP (RFC 9449), and what is wrong with some of them."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from support.tokens import segment, token

_IDS = itertools.count()


class Prover:
    """The owner of a key on P-256, who makes tokens that are bound to it and proofs for them."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        numbers = self._key.public_key().public_numbers()
        x, y = (segment(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        self.jwk = {"kty": "EC", "crv": "P-256", "x": x, "y": y}

    @property
    def thumbprint(self) -> str:
        """The `jkt` of the key (RFC 7638 section 3)."""
        canonical = json.dumps(self.jwk, sort_keys=True, separators=(",", ":"))
        return segment(hashlib.sha256(canonical.encode()).digest())

    def token(self, **claims: Any) -> str:
        """A token of user 7 that is bound to the key."""
        return token(cnf={"jkt": self.thumbprint}, **claims)

    def proof(self, of: str, url: str, *, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A proof for `GET URL` with the token `of`, with other members where they are given; None leaves one out."""
        ath = segment(hashlib.sha256(of.encode()).digest())
        own = {"jti": f"{time.time_ns()}-{next(_IDS)}", "htm": "GET", "htu": url, "iat": int(time.time()), "ath": ath}
        head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk, **(header or {})}
        message = f"{_encoded(head)}.{_encoded({**own, **claims})}"
        numbers = decode_dss_signature(self._key.sign(message.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{message}.{segment(b''.join(number.to_bytes(32, 'big') for number in numbers))}"


def _encoded(members: Mapping[str, Any]) -> str:
    return segment(json.dumps({name: value for name, value in members.items() if value is not None}).encode())


def proven(text: str, *proofs: str) -> list[str]:
    """The fields that carry a token and its proofs."""
    return [f"Authorization: DPoP {text}", *(f"DPoP: {proof}" for proof in proofs)]
