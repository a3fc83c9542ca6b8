"""Tokens and keys for tests: made here with the standard library, or signed beforehand (tokens.json)."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from pylae.testing import SECRET, make_token

__all__ = ["SECRET", "SIGNED", "bearer", "segment", "token"]

SIGNED: dict[str, Any] = json.loads((Path(__file__).parent / "tokens.json").read_text(encoding="ascii"))
"""`signed`: a public key (`pem`, `jwk`) and a token of user 42 by algorithm. `rotation`: two keys with `kid`, and a
token of each, of users 42 and 43. The tokens are good until 2100; the private keys were thrown away."""


def segment(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(secret: str = SECRET, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token of user 7 signed with HS256, good for a minute unless `exp` says otherwise."""
    return make_token({"sub": "7", "exp": int(time.time()) + 60, **claims}, secret=secret, header=header or {})


def bearer(text: str) -> str:
    """The field that carries a token."""
    return f"Authorization: Bearer {text}"
