"""A server that speaks the part of Docker's Engine API that lists containers and tells of events."""

from __future__ import annotations

import json
import re
from typing import Any

from support.api_server import ApiServer, Request

NEWEST, OLDEST = (1, 51), (1, 44)


class Docker(ApiServer):
    """Has containers; what happens to them is told as events."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.containers: dict[str, dict[str, Any]] = {}
        self.listening = 0
        """Streams of events that are open."""
        self.events_refused = False
        """Whether there is a proxy that lets no events through."""
        self._events: list[dict[str, Any]] = []

    def run(
        self,
        name: str,
        labels: dict[str, str] | None = None,
        *,
        networks: dict[str, str] | None = None,
        ports: tuple[int | tuple[int, int], ...] = (),
        health: str = "none",
    ) -> None:
        """Starts a container; `networks` are its addresses, and `ports` those that it exposes or publishes."""
        listed = [
            {"PrivatePort": port, "Type": "tcp"}
            if isinstance(port, int)
            else {"IP": "0.0.0.0", "PrivatePort": port[0], "PublicPort": port[1], "Type": "tcp"}
            for port in ports
        ]
        found = {
            "Id": f"{name:0<64}",
            "Names": [f"/{name}"],
            "Image": "users:1",
            "Labels": labels or {},
            "State": "running",
            "Status": "Up 2 seconds",
            "Ports": [*listed, {"PrivatePort": 53, "Type": "udp"}],
            "NetworkSettings": {
                "Networks": {
                    network: {"NetworkID": "x", "IPAddress": ip if ":" not in ip else "", "GlobalIPv6Address": ip}
                    for network, ip in (networks or {"bridge": "127.0.0.1"}).items()
                }
            },
            "_health": health,
        }
        with self.changed:
            self.containers[name] = found
        self.happen("start", name)

    def stop_container(self, name: str) -> None:
        """Stops one."""
        labels = self.containers[name]["Labels"]
        with self.changed:
            del self.containers[name]
        self.happen("die", name, labels)

    def become(self, name: str, health: str) -> None:
        """Changes the health of one."""
        self.containers[name]["_health"] = health
        self.happen(f"health_status: {health}", name)

    def happen(self, action: str, name: str, labels: dict[str, str] | None = None) -> None:
        """Tells of an event."""
        found = labels if labels is not None else self.containers[name]["Labels"]
        with self.changed:
            self._events.append({"Type": "container", "Action": action, "Actor": {"ID": name, "Attributes": found}})
            self.changed.notify_all()

    def answer(self, request: Request) -> None:
        """As the engine does."""
        if request.api_path == "/_ping":
            return request.say(b"OK", Api_Version=f"{NEWEST[0]}.{NEWEST[1]}")
        version = re.match(r"/v(\d+)\.(\d+)(/.*)", request.api_path)
        if version is None or not OLDEST <= (int(version[1]), int(version[2])) <= NEWEST:
            return request.say_json({"message": "client version is too old or too new"}, 400)
        asked = json.loads(request.query.get("filters", ["{}"])[0])
        if version[3] == "/events":
            if self.events_refused:
                return request.say(b"Forbidden", 403)
            return self._tell(request, asked)
        with self.changed:
            found = [one for one in self.containers.values() if _fits(one, asked)]
        return request.say_json(found)

    def _tell(self, request: Request, asked: dict[str, list[str]]) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        with self.changed:
            told = len(self._events)
            self.listening += 1
            self.changed.notify_all()
            try:
                while not self.stopped:
                    for event in self._events[told:]:
                        if _is_asked_for(event, asked):
                            request.chunk(json.dumps(event).encode() + b"\n")
                    told = len(self._events)
                    self.changed.wait(10)
            finally:
                self.listening -= 1


def _fits(container: dict[str, Any], asked: dict[str, list[str]]) -> bool:
    return (
        _has(container["Labels"], asked)
        and container["State"] in asked.get("status", ["running", "paused"])
        and container["_health"] in asked.get("health", [container["_health"]])
    )


def _is_asked_for(event: dict[str, Any], asked: dict[str, list[str]]) -> bool:
    """With `health_status` among the actions, they are beginnings."""
    actions = tuple(asked.get("event", [""]))
    return (
        event["Type"] in asked["type"]
        and event["Action"].startswith(actions)
        and _has(event["Actor"]["Attributes"], asked)
    )


def _has(labels: dict[str, str], asked: dict[str, list[str]]) -> bool:
    pairs = [wanted.partition("=") for wanted in asked.get("label", [])]
    return all(name in labels and (not equals or labels[name] == value) for name, equals, value in pairs)
