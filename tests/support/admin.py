"""The admin API as its users see it."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx

from support.running import Running


class Admin:
    """A gateway that runs in this process, and a client of its admin API that has the token."""

    def __init__(self, running: Running) -> None:
        self.running = running
        server = running.gateway.admin
        assert server is not None
        self.address, self.token = server.address, server.token
        # Nothing is verified over plain HTTP, and reading the system's certificates would take long.
        self.http = httpx.Client(base_url=f"http://{self.address}", headers=self.credential, timeout=30, verify=False)

    @property
    def credential(self) -> dict[str, str]:
        """The field that lets requests in."""
        return {"Authorization": f"Bearer {self.token}"}

    def get(self, path: str) -> Any:
        """What a GET answers, which must be 200."""
        response = self.http.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, **body: Any) -> Any:
        """What a POST answers, which must be a success."""
        response = self.http.post(path, json=body or None)
        assert response.is_success, response.text
        return response.json() if response.content else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self.http.close()
