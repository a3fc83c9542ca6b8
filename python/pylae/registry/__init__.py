"""Where instances come from. This has what a kind of source imports; `pylae.ServiceRegistry` follows the sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pylae.config.models.instance import Instance
from pylae.registry.source import Source, SourceContext, SourceSettings

__all__ = ["Instance", "Source", "SourceContext", "SourceSettings"]

if not TYPE_CHECKING:  # A checker would take every name to be there.

    def __getattr__(name: str) -> object:
        if name == "ServiceRegistry":
            raise ImportError("it is `from pylae import ServiceRegistry`", name=__name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
