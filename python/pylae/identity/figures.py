"""What authenticators count, for the metrics."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final

FAMILIES: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "pylae_logins_total": (("authenticator",), "Logins that have succeeded."),
    "pylae_login_failures_total": (
        ("authenticator", "reason"),
        "Logins, refreshes of sessions and logouts by the provider that have failed, by why.",
    ),
    "pylae_sessions_ended_total": (("authenticator", "by"), "Sessions that have ended before their time, by what."),
    "pylae_session_refreshes_total": (("authenticator", "result"), "Refreshes of the tokens of sessions."),
}
"""The counters by their names: labels, and what they count."""


class Figures:
    """Counts. All threads can use it. Values of labels are of the configuration or of tables, never of clients."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in FAMILIES}

    def count(self, name: str, *labels: str) -> None:
        """Counts one, for the values of the labels in their order."""
        with self._lock:
            self._counts[name][labels] += 1

    def metrics(self) -> str:
        """Returns the counters in the text format of Prometheus."""
        lines = []
        with self._lock:
            for name, (labels, what) in FAMILIES.items():
                lines += [f"# HELP {name} {what}", f"# TYPE {name} counter"]
                for values, count in sorted(self._counts[name].items()):
                    told = ",".join(f'{label}="{value}"' for label, value in zip(labels, values, strict=True))
                    lines.append(f"{name}{{{told}}} {count}")
        return "".join(f"{line}\n" for line in lines)
