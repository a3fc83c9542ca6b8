"""Checks whether the OpenTelemetry collectors of a configuration can be reached."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from pylae.config.models.config import Config
from pylae.doctor.result import Result, ok, warning

_PATIENCE = 2.0
"""How long a connection may take, in seconds."""


def results(config: Config) -> Iterator[Result]:
    """Connects to each collector, without sending anything. A gateway starts and works without them too."""
    exports = config.telemetry.exports if config.telemetry else {}
    for signal, export in exports.items():
        parts = urlsplit(export.endpoint)
        # The path may be a secret.
        place, name = f"{parts.scheme}://{parts.netloc}", f"collector of {signal}"
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname or "", port), _PATIENCE).close()
        except OSError as error:
            hint = (
                "start the collector, or correct `endpoint`; until then a gateway keeps the latest and counts the rest"
            )
            yield warning(name, f"{place} cannot be reached: {error.strerror or error}", hint)
        else:
            yield ok(name, f"{place} accepts connections")
