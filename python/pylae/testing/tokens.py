"""Tokens for users who exist only in tests."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["SECRET", "make_token"]

SECRET = "a secret of more than thirty-two bytes, known to every test"  # noqa: S105
"""What signs the tokens of tests. Gateways that `pylae.testing` starts accept it, and no others do."""


def make_token(claims: Mapping[str, Any] = {}, *, secret: str = SECRET, header: Mapping[str, Any] = {}) -> str:
    """A JSON Web Token signed with HS256, good for an hour from now unless `exp` says otherwise.

    For tokens that no issuer would make: expired, for another audience, without an `exp` (`{"exp": None}` leaves a
    claim out). `RunningGateway.token` makes good ones.
    """
    head = {"alg": "HS256", "typ": "JWT", **header}
    body = {"exp": int(time.time()) + 3600, **claims}
    parts = [{name: value for name, value in part.items() if value is not None} for part in (head, body)]
    message = ".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return f"{message}.{_base64url(hmac.digest(secret.encode(), message.encode(), 'sha256'))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
