"""A token endpoint (RFC 6749 section 3.2) that may fail, wait and lie."""

from __future__ import annotations

import json
import ssl
import threading
from typing import Any
from urllib.parse import parse_qs

from support.instance import RawInstance
from support.peer import Message, Peer, wait_until


def raw(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    """An answer."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


class TokenEndpoint(RawInstance):
    """Issues the tokens `token-1`, `token-2` and so on, each for `lifetime` seconds; None does not say how long."""

    def __init__(self, lifetime: object = 3600, context: ssl.SSLContext | None = None) -> None:
        self.lifetime = lifetime
        self.said: bytes | None = None
        """What is sent in place of every answer, head and all."""
        self.may_answer = threading.Event()
        """Cleared, answers wait until it is set."""
        self.may_answer.set()
        self.issued = 0
        """Tokens that were issued."""
        super().__init__(self._issue, context=context)

    @property
    def token_url(self) -> str:
        """As settings have it."""
        return f"{self.url}/token"

    @property
    def forms(self) -> list[dict[str, list[str]]]:
        """The forms of all requests."""
        return [parse_qs(request.body.decode(), keep_blank_values=True) for request in self.requests]

    def wait_for(self, count: int) -> None:
        """Waits until there were as many requests."""
        wait_until(lambda: len(self.requests) >= count)

    def settings(self, **more: Any) -> dict[str, Any]:
        """`client_credentials` of a service."""
        return {"token_url": self.token_url, "client_id": "gateway", "client_secret": "hunter2-secret", **more}

    def _issue(self, peer: Peer, request: Message) -> None:
        assert request.method == "POST"
        self.may_answer.wait()
        if self.said is not None:
            peer.send(self.said)
            return
        self.issued += 1
        answer = {"access_token": f"token-{self.issued}", "token_type": "Bearer"}
        if self.lifetime is not None:
            answer["expires_in"] = self.lifetime  # type: ignore[assignment]
        peer.send(raw(json.dumps(answer).encode()))
