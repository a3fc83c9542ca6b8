"""A server that speaks the part of Consul's HTTP API that lists instances, blocking queries included."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from support.api_server import ApiServer, Request

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


class Consul(ApiServer):
    """Has services with instances; `put` changes those of one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.index = 10
        self.services: dict[str, list[dict[str, Any]]] = {}
        self.token: str | None = None
        """What must be presented, if anything."""
        self.hides = False
        """Whether the token may see no service."""
        self.blocked = 0
        """Queries that wait for a change."""

    def put(self, service: str, *entries: dict[str, Any], index: int | None = None) -> None:
        """Replaces the instances of a service; the state has another index then."""
        with self.changed:
            self.services[service] = list(entries)
            self.index = self.index + 1 if index is None else index
            self.changed.notify_all()

    def answer(self, request: Request) -> None:
        """As Consul does."""
        name = unquote(request.api_path.removeprefix("/v1/health/service/"))
        if self.token is not None and request.headers.get("X-Consul-Token") != self.token:
            return request.say(f"Permission denied: token lacks permission 'service:read' on \"{name}\"".encode(), 403)
        with self.changed:
            known = int(request.query.get("index", ["0"])[0])
            if known and known >= self.index:
                wait = re.fullmatch(r"(\d+)(ms|s|m)", request.query["wait"][0])
                assert wait, "a duration as Go writes it"
                self.blocked += 1
                self.changed.notify_all()
                before = self.index
                self.changed.wait_for(lambda: self.index != before or self.stopped, float(wait[1]) * _UNITS[wait[2]])
                self.blocked -= 1
            if self.stopped:
                return None
            found = [one for one in self.services.get(name, []) if not self.hides and _fits(one, request.query)]
            fields = {"X_Consul_Index": str(self.index), "X_Consul_KnownLeader": "true"}
            if self.hides:
                fields["X_Consul_Results_Filtered_By_ACLs"] = "true"
        return request.say_json(found, **fields)


def entry(
    url: str,
    *,
    weight: int = 1,
    warning: int = 1,
    status: str = "passing",
    tags: tuple[str, ...] = (),
    on_node: bool = False,
) -> dict[str, Any]:
    """An instance as Consul lists it; `on_node` if it has no address but that of its node."""
    host, _, port = url.partition("//")[2].rpartition(":")
    host = host.strip("[]")
    node = {"ID": "40e4a748", "Node": "one", "Address": host if on_node else "192.0.2.77", "Datacenter": "dc1"}
    service = {
        "ID": f"one-{port}",
        "Service": "users",
        "Tags": list(tags),
        "Address": "" if on_node else host,
        "Port": int(port),
        "Weights": {"Passing": weight, "Warning": warning},
        "Meta": None,
    }
    checks = [
        {"Node": "one", "CheckID": "serfHealth", "Status": "passing", "Output": "Agent alive and reachable"},
        {"Node": "one", "CheckID": f"service:one-{port}", "Status": status, "Output": ""},
    ]
    return {"Node": node, "Service": service, "Checks": checks}


def _fits(one: dict[str, Any], query: dict[str, list[str]]) -> bool:
    passing = all(check["Status"] == "passing" for check in one["Checks"])
    return ("passing" not in query or passing) and set(query.get("tag", [])) <= set(one["Service"]["Tags"])
