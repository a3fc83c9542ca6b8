"""What is wrong now: by the timeline of gateways, which knows since when, and by their present state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pylae.dashboard.nodes import Node
from pylae.dashboard.shown import moment

WORDS = {
    "down": "down: its health checks fail",
    "ejected": "ejected after failed requests",
    "draining": "draining",
    "failing": "most attempts fail",
    "open": "breaker open",
    "half_open": "breaker half open",
    "errors": "most answers are errors",
}
"""What each kind of trouble is called."""
TONES = {"draining": "faint", "half_open": "warn", "ejected": "warn"}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong.

    Attributes:
        node: The gateway that has noticed it.
        service: Name of the service.
        instance: URL of the instance, if it is one.
        kind: A key of `WORDS`.
        why: What is known of the reason.
        since: When it was noticed, in seconds since 1970; None if that is not known yet.
    """

    node: Node
    service: str
    instance: str | None
    kind: str
    why: str | None
    since: float | None


def lasting(nodes: Sequence[Node]) -> list[Trouble]:
    """What is wrong at these gateways, by their topics `timeline`, `services` and `breakers`. The latest first."""
    found = {}
    for node in nodes:
        since = {
            (one["service"], one["instance"], one["kind"]): one
            for one in node.value("timeline", {}).get("troubles", [])
            if one["until"] is None
        }
        # A state is noticed by the timeline some seconds after it is to be seen, and is over before it notices that.
        now: dict[tuple[str, str | None, str], str | None] = {}
        for service in node.value("services", []):
            for one in service["instances"]:
                if one["state"] != "up":
                    now[service["name"], one["url"], one["state"]] = None
        for one in node.value("breakers", []):
            if one["state"] != "closed":
                now[one["service"], one["instance"], one["state"]] = one["reason"]
        now |= {key: one["why"] for key, one in since.items() if key[2] in ("failing", "errors")}
        for key, why in now.items():
            noted = since.get(key, {})
            found[node, key] = Trouble(node, *key, why or noted.get("why"), moment(noted.get("since")))
    return sorted(found.values(), key=lambda one: -(one.since or float("inf")))
