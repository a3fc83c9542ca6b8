"""Where instances come from: names, files, and the instances themselves."""

from __future__ import annotations

from pylae.registry.registry import ServiceRegistry

__all__ = ["ServiceRegistry"]
