"""Spans as text that a person reads, the same each time."""

from __future__ import annotations

import re
from collections.abc import Iterable

from support.otlp.received import Span

CHANGING = {"pylae.request_id", "pylae.bytes_in", "pylae.bytes_out", "server.port", "client.port", "network.peer.port"}
"""Attributes whose values are others each time."""


def tree(spans: Iterable[Span]) -> str:
    """The spans of one trace, each below its parent and in the order in which they began.

    Ids are left out: the tree shows who is whose parent. Ports and what else differs each time is `…`.
    """
    left = sorted(spans, key=lambda span: span.start)
    known = {span.span_id for span in left}
    lines: list[str] = []

    def add(span: Span, depth: int) -> None:
        indent = "  " * depth
        status = f", {span.status}" + (f" ({span.status_message})" if span.status_message else "")
        lines.append(f"{indent}{span.name} ({span.kind}{'' if span.status == 'unset' else status})")
        if span.parent_id and span.parent_id not in known:
            lines.append(f"{indent}  parent: the client's{' (remote)' if span.flags & 0x200 else ''}")
        if span.trace_state:
            lines.append(f"{indent}  tracestate: {span.trace_state}")
        lines.extend(f"{indent}  {key} = {_shown(key, span.attributes[key])}" for key in sorted(span.attributes))
        for name, attributes in span.events:
            lines.append(f"{indent}  event {name}")
            lines.extend(f"{indent}    {key} = {_shown(key, attributes[key])}" for key in sorted(attributes))
        for child in left:
            if child.parent_id == span.span_id:
                add(child, depth + 1)

    for root in left:
        if root.parent_id not in known:
            add(root, 0)
    return "\n".join(lines) + "\n"


def _shown(key: str, value: object) -> str:
    if key in CHANGING:
        return "…"
    return re.sub(r"(?<=127\.0\.0\.1:)\d+|(?<= grpc-python/).*", "…", str(value))
