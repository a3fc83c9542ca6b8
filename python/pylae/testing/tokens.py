"""Tokens for the users of tests."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["SECRET", "make_token"]

SECRET = "a secret of more than thirty-two bytes, known to every test"  # noqa: S105
"""Signs the tokens of tests. Gateways of `pylae.testing` accept only these tokens."""


def make_token(claims: Mapping[str, Any] = {}, *, secret: str = SECRET, header: Mapping[str, Any] = {}) -> str:
    """Returns a JSON Web Token signed with HS256, valid for an hour unless `exp` is given.

    Use it for tokens that no issuer would make: expired, for another audience, without an `exp` (`{"exp": None}` leaves
    a claim out). `RunningGateway.token` makes valid ones.
    """
    head = {"alg": "HS256", "typ": "JWT", **header}
    body = {"exp": int(time.time()) + 3600, **claims}
    parts = [{name: value for name, value in part.items() if value is not None} for part in (head, body)]
    message = ".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return f"{message}.{_base64url(hmac.digest(secret.encode(), message.encode(), 'sha256'))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
