"""What a page for Prometheus says of a node of a fleet."""

from __future__ import annotations

from typing import NamedTuple


class Gauges(NamedTuple):
    """What a node knows of itself. `target` and `configuration` are numbers in the history, 0 for none."""

    available: bool
    configuration: int
    target: int


_ROWS = (
    ("pylae_fleet_store_available", "1 while the store that nodes share answers, else 0."),
    ("pylae_fleet_configuration", "Number of the configuration in force, 0 for none."),
    ("pylae_fleet_target", "Number of the configuration that this node should have, 0 for none."),
)


def page(gauges: Gauges | None) -> str:
    """Returns its part of the page (text format 0.0.4). A gateway that is alone has no samples."""
    lines = []
    for (name, what), value in zip(_ROWS, gauges or (None,) * len(_ROWS), strict=True):
        lines += [f"# HELP {name} {what}", f"# TYPE {name} gauge"]
        if value is not None:
            lines.append(f"{name} {int(value)}")
    return "".join(f"{line}\n" for line in lines)
