"""Keys of a provider, which may change, and what they sign."""

from __future__ import annotations

import base64
import functools
import hmac
import json
import uuid
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.tokens import segment

Algorithm = Literal["RS256", "ES256"]


def decoded(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token. Nothing is verified."""
    header, claims, _ = token.split(".")
    return _json(header), _json(claims)


def _json(text: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=="))
    return value


class Key:
    """One key with a `kid` of its own (RFC 7517, section 4)."""

    def __init__(self, alg: Algorithm = "RS256") -> None:
        self.alg = alg
        self.kid = uuid.uuid4().hex[:8]
        self.private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
        if alg == "RS256":
            self.private = rsa.generate_private_key(65537, 2048)
        else:
            self.private = ec.generate_private_key(ec.SECP256R1())

    def jwk(self, *, private: bool = False) -> dict[str, str]:
        """As RFC 7518, section 6, writes it."""
        key = self.private
        common = {"kid": self.kid, "alg": self.alg, "use": "sig"}
        if isinstance(key, rsa.RSAPrivateKey):
            numbers = key.private_numbers()
            public = {"kty": "RSA", "n": _number(numbers.public_numbers.n), "e": _number(numbers.public_numbers.e)}
            names = {"d": "d", "p": "p", "q": "q", "dp": "dmp1", "dq": "dmq1", "qi": "iqmp"}
            secret = {name: _number(getattr(numbers, their)) for name, their in names.items()}
        else:
            point = key.public_key().public_numbers()
            public = {"kty": "EC", "crv": "P-256", "x": _number(point.x, 32), "y": _number(point.y, 32)}
            secret = {"d": _number(key.private_numbers().private_value, 32)}
        return {**common, **public, **(secret if private else {})}

    @property
    def pem(self) -> bytes:
        """The public key in PEM."""
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """A token with exactly these claims (RFC 7515, section 3). A header of None is left out.

        `alg="none"` leaves the signature empty, and `alg="HS256"` takes the public key in PEM for the secret, which is
        the attack of RFC 8725, section 2.1.
        """
        whole = {"alg": self.alg, "kid": self.kid, **header}
        whole = {name: value for name, value in whole.items() if value is not None}
        signed = ".".join(segment(json.dumps(part).encode()) for part in (whole, claims))
        return f"{signed}.{segment(self.signature(signed.encode(), whole.get('alg')))}"

    def signature(self, data: bytes, alg: str | None = None) -> bytes:
        """What signs it, by an algorithm or by that of the key."""
        if alg == "none":
            return b""
        if alg == "HS256":
            return hmac.digest(self.pem, data, "sha256")
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@functools.cache
def _first() -> Key:
    """Making one takes long, and no test cares whether another one had it before."""
    return Key()


class Keys:
    """The keys of a provider, the first of which signs."""

    def __init__(self) -> None:
        self.known = [_first()]

    @property
    def first(self) -> Key:
        """The one that signs."""
        return self.known[0]

    def jwks(self, *, private: bool = False) -> dict[str, Any]:
        """All of them as a JWK set."""
        return {"keys": [key.jwk(private=private) for key in self.known]}


def _number(value: int, size: int | None = None) -> str:
    return segment(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))
