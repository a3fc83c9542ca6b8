"""Filters an event stream while it passes: who may see which events, and what of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from pydantic import BaseModel, ConfigDict

from pylae import Plugin, Request, Response
from pylae.hooks import Event


class Settings(BaseModel):
    """What a configuration says about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    types: dict[str, str] = {}
    """Types of events, and the role that sees them; events of other types are for everybody."""
    drop_fields: frozenset[str] = frozenset()
    """Members that are taken out of events whose data is a JSON object."""


class EventFilter(Plugin):
    """Lets events through one by one, as they come. Only responses of the type text/event-stream pass it."""

    Settings = Settings

    async def on_response_events(
        self, request: Request, _response: Response, events: AsyncIterator[Event]
    ) -> AsyncIterator[Event]:
        """The events that the user may see."""
        role = request.user.role if request.user else ""
        async for event in events:
            if event.event in self.settings.types and self.settings.types[event.event] != role:
                # What a client that reconnects says it has seen must still be right.
                if event.id is None:
                    continue
                event = Event(id=event.id)
            elif event.data is not None:
                self.clean(event)
            yield event

    def clean(self, event: Event) -> None:
        """Takes the members out, if the data is a JSON object that has them."""
        try:
            value = event.json()
        except ValueError:
            return
        if isinstance(value, dict) and value.keys() & self.settings.drop_fields:
            event.data = json.dumps(
                {name: item for name, item in value.items() if name not in self.settings.drop_fields}
            )
