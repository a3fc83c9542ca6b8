"""What one node of a cluster looks up for all."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pylae.config.models.instance import MOST_INSTANCES, Instance
from pylae.registry.sharing import RegistryStore

_AGAIN = 0.2
"""Seconds between two questions while another node is looking."""
_SPARE = 1.0
"""Seconds by which a node may be late with what it looks up, until another one looks."""
_LEAST = 0.05
"""Least seconds until it is asked for again."""
_LONGEST = 4 * 1024 * 1024
"""Bytes of what was found."""


class Found(BaseModel):
    """What was found, or why there is nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instances: Annotated[tuple[Instance, ...], Field(max_length=MOST_INSTANCES)] = ()
    gone: Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,400}$")] | None = None


class SharedLookup:
    """A question that one of the nodes asks for all of them."""

    def __init__(self, store: RegistryStore, asked: Sequence[object], longest: float) -> None:
        """`asked` is all that decides the answer, and `longest` how many seconds it may take."""
        self._store = store
        self._key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        self._longest = longest + _SPARE

    async def ask(self) -> tuple[Found, float] | None:
        """What another node has found, and for how many seconds it counts; None if this node is to look.

        Waits while another node is looking.
        """
        for _ in range(int(self._longest / _AGAIN) + 1):
            answer = await self._store.call("lookup", self._key, "ask", self._store.node, round(self._longest * 1000))
            match answer:
                case [1, int() as left, bytes() as data] if len(data) <= _LONGEST:
                    try:
                        return Found.model_validate_json(data), max(left / 1000, _LEAST)
                    except ValidationError:
                        return None
                case 2:
                    await asyncio.sleep(_AGAIN)
                case _:
                    # It is this node's turn, or the store is away.
                    return None
        return None

    async def tell(self, found: Found, lasts: float) -> None:
        """Tells other nodes what was found, and for how many seconds it counts. They look themselves if that fails."""
        data = found.model_dump_json(exclude_defaults=True)
        await self._store.call("lookup", self._key, "tell", self._store.node, round(lasts * 1000), data)

    async def fail(self) -> None:
        """Lets another node look."""
        await self._store.call("lookup", self._key, "fail", self._store.node, 1)
