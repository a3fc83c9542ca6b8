"""Signs what goes to the services, so that they can tell requests of the gateway from all others.

`X-Signature: t=<unix time>, v1=<hex>`, where the digits are the HMAC-SHA256 of time, method, target and the SHA-256 of
the body, each on a line of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import time

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from pylae import Plugin, Request
from pylae.hooks import on_request


class Settings(BaseModel):
    """What a configuration says about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    secret: SecretStr = Field(min_length=16)
    """What gateway and services share."""
    header: str = "X-Signature"
    """Name of the field."""


class RequestSigning(Plugin):
    """Sets the signature, over whatever a client has sent in its place."""

    Settings = Settings

    @on_request(body="10MB")
    async def sign(self, request: Request) -> None:
        """Sets the signature. Larger bodies are refused with 413 before this is called."""
        now = int(time.time())
        path = request.raw_path
        target = f"{path}?{request.query}" if request.query else path
        signed = signature(self.settings.secret.get_secret_value(), now, request.method, target, await request.body())
        request.headers[self.settings.header] = f"t={now}, v1={signed}"


def signature(secret: str, at: int, method: str, target: str, body: bytes) -> str:
    """What a service computes too, to compare it with `hmac.compare_digest`."""
    lines = (str(at), method, target, hashlib.sha256(body).hexdigest())
    return hmac.new(secret.encode(), "\n".join(lines).encode(), hashlib.sha256).hexdigest()
