"""Server-sent events (HTML section 9.2), as hooks see them and as they are sent."""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Any

from pylae.errors import HookError

MAX_EVENT = 1024 * 1024
"""Most characters of an event."""


@dataclass(slots=True)
class Event:
    """A server-sent event. Attributes that are None are not sent."""

    data: str | None = None
    """The content. Several lines are sent as several fields."""
    event: str | None = None
    """The type. Browsers take an event without a type for a `message`."""
    id: str | None = None
    """Sent by a browser as `Last-Event-ID` when it reconnects."""
    retry: int | None = None
    """Milliseconds that a browser waits before it reconnects."""
    comment: str | None = None
    """Text that browsers ignore. It keeps a connection open."""

    def json(self) -> Any:
        """Returns the data as JSON. Raises ValueError if it is not JSON."""
        return json.loads(self.data or "")

    def encode(self) -> bytes:
        """Returns the event as it is sent. Raises ValueError if its type or id contains a line break."""
        lines = [f": {line}" for line in _lines(self.comment)]
        for name, value in (("event", self.event), ("id", self.id)):
            if value is not None:
                if "\n" in value or "\r" in value:
                    raise ValueError(f"the `{name}` of an event cannot contain a line break")
                lines.append(f"{name}: {value}")
        if self.retry is not None:
            lines.append(f"retry: {int(self.retry)}")
        lines += [f"data: {line}" for line in _lines(self.data)]
        return "".join(f"{line}\n" for line in (*lines, "")).encode()


def _lines(text: str | None) -> list[str]:
    return [] if text is None else text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


async def parse(chunks: AsyncIterable[bytes]) -> AsyncIterator[Event]:
    """Yields the events in a body. An incomplete event at the end is dropped. Raises HookError for one beyond
    `MAX_EVENT`.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    held, fields, size = "", [], 0
    async for chunk in chunks:
        held += decoder.decode(chunk)
        # A CR at the end may be half of a line break.
        whole = held.removesuffix("\r")
        *lines, rest = whole.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        held = rest + held[len(whole) :]
        for line in lines:
            size += len(line)
            if line:
                fields.append(line)
            elif fields:
                yield _event(fields)
                fields, size = [], 0
        if size + len(held) > MAX_EVENT:
            raise HookError(f"an event has more than {MAX_EVENT} characters")


def _event(lines: list[str]) -> Event:
    event, data, comments = Event(), [], []
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            comments.append(value)
        elif name == "data":
            data.append(value)
        elif name in ("event", "id"):
            setattr(event, name, value)
        elif name == "retry" and value.isascii() and value.isdigit():
            event.retry = int(value)
    event.data = "\n".join(data) if data else None
    event.comment = "\n".join(comments) if comments else None
    return event
