"""A gateway of a file, as a process, and what it has recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx

from support.peer import wait_until
from support.running import Process, configure


class Recorded:
    """A gateway that runs with a file in a folder, with its admin API. It can be killed and started again."""

    def __init__(self, folder: Path, **instances: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.state, self._instances = folder, folder / "state", instances
        self._config: dict[str, Any] = {}
        self.process: Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Kills it, if it runs."""
        if self.process:
            self.http.close()
            self.process.stop()
        self.process = None

    def start(self, config: dict[str, Any] | None = None) -> Recorded:
        """Starts it, with another file if one is given."""
        if config is not None:
            self._config = self._whole(config)
        self.process = Process(self._config, self.folder)
        address = self.process.said("admin API on").split()[-1]
        token = (self.state / "admin-token").read_text().strip()
        fields = {"Authorization": f"Bearer {token}"}
        self.http = httpx.Client(base_url=f"http://{address}", headers=fields, timeout=60, verify=False)
        return self

    def _whole(self, config: dict[str, Any]) -> dict[str, Any]:
        given = {name for name, service in config.get("services", {}).items() if "instances" in service}
        instances = {name: one for name, one in self._instances.items() if name not in given}
        return configure({"admin": {"address": "127.0.0.1:0"}, "state": "state", **config}, **instances)

    def running(self) -> Process:
        """The process."""
        assert self.process
        return self.process

    def write(self, config: dict[str, Any]) -> None:
        """Changes the file, and waits until that is in force."""
        self._config = self._whole(config)
        self.running().write(self._config)
        self.running().read_until("configuration applied")

    def put(self, document: Any, **query: str) -> httpx.Response:
        """Applies a configuration over the admin API."""
        return self.http.put("/config", content=json.dumps(document), headers={"If-Match": "*"}, params=query)

    def change(self, change: Callable[[dict[str, Any]], None], **query: str) -> None:
        """Reads the configuration, changes it, and puts it back."""
        document = self.http.get("/config").json()
        change(document)
        answer = self.put(document, **query)
        assert answer.status_code == 200, answer.text

    def roll_back(self, number: int, match: str = "*", **query: str) -> httpx.Response:
        """Rolls back."""
        return self.http.post(f"/history/{number}/rollback", headers={"If-Match": match}, params=query)

    def get(self, path: str) -> Any:
        """What a GET answers, which must be 200."""
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def entries(self) -> list[dict[str, Any]]:
        """All entries, the first one first."""
        found: list[dict[str, Any]] = []
        more, path = True, "/history?limit=100"
        while more:
            page = self.get(path)
            found += page["entries"]
            more = page["more"]
            path = f"/history?limit=100&before={found[-1]['number']}" if found else ""
        return found[::-1]

    def how(self) -> list[str]:
        """What did each of the entries."""
        return [one["how"] for one in self.entries()]

    def waiting(self) -> list[Path]:
        """The files of the journal."""
        folder = self.state / "history"
        return sorted(folder.glob("[0-9]*.json")) if folder.exists() else []

    def wait_for(self, number: int) -> None:
        """Waits until so many entries were recorded."""
        wait_until(lambda: len(self.entries()) >= number)

    def kept(self) -> bytes:
        """All bytes that it has in its state folder for the store and the history."""
        files = [*self.state.glob("store.db*"), *self.state.glob("history/*")]
        return b"\0".join(file.read_bytes() for file in files)
