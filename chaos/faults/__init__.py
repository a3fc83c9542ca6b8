"""All faults by name, in the order in which they are tried. A fault is an entry of `FAULTS` in a module here."""

from __future__ import annotations

from collections.abc import Mapping

from chaos.faults import clock, exhaustion, hooks, hosts, instances, keys, pipes, reloads, state, stopping
from chaos.stage import Fault

_MODULES = (reloads, stopping, instances, state, pipes, exhaustion, hooks, hosts, keys, clock)
FAULTS: Mapping[str, Fault] = {fault.name: fault for module in _MODULES for fault in module.FAULTS}
