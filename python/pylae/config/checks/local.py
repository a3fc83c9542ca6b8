"""Which settings belong to a node, and which to the configuration that all nodes of a fleet have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pylae.config.document.nodes import Finding
from pylae.config.models.config import Config
from pylae.store.settings import store_url

KEYS = ("store", "cluster", "admin", "listeners", "workers", "user", "group", "state")
"""What stays in the file of a node, and is never in a shared history."""


def is_shared(config: Config) -> bool:
    """Whether several gateways can have the same store, so that the configuration comes from there."""
    return store_url(config.store.url).kind != "sqlite"


def misplaced(config: Config) -> Iterator[Finding]:
    """Finds what must not be in the file of a node with a shared store."""
    if not is_shared(config):
        return
    for key in sorted(config.model_fields_set - set(KEYS)):
        hint = f"with a shared `store`, the file of a node has only {', '.join(KEYS)}; write the rest in another file, "
        yield Finding((key,), "comes from the store, for all nodes", f"{hint}and send it: pylae apply FILE")


def local(config: Config, node: Path) -> Iterator[Finding]:
    """Finds what must not be in a configuration for all nodes. `node` is the file of this node."""
    for key in sorted(config.model_fields_set & set(KEYS)):
        yield Finding((key,), "belongs to each node", f"write it in the file of the node, such as {node}")
