"""Acknowledgements that a rung which is away could not take."""

from __future__ import annotations

import asyncio

from evermq.clock import SYSTEM
from evermq.daemon.running import say
from evermq.errors import Unavailable, Uncertain
from evermq.port import Delivery, Reader

__all__ = ["Owed"]

_PAUSE_MS = 500


class Owed:
    """Acknowledges, and where that fails tries again beside what goes on: one rung that is away must not end the
    reading of the others, and what is handled already must not come again."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._left: list[Delivery] = []
        self._task: asyncio.Task[None] | None = None

    async def ack(self, deliveries: list[Delivery]) -> None:
        """At once if it can be."""
        try:
            await self._reader.ack(deliveries)
        except (Unavailable, Uncertain) as error:
            if not self._left:
                say(f"evermq: not acknowledged yet, and tried again: {error}")
            self._left += deliveries
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._repeat())

    async def close(self) -> None:
        """A last try. Raises Unavailable or Uncertain where something is still owed."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._left:
            await self._reader.ack(self._left)

    async def _repeat(self) -> None:
        while self._left:
            await SYSTEM.sleep(_PAUSE_MS)
            some = list(self._left)
            try:
                await self._reader.ack(some)
            except (Unavailable, Uncertain):
                continue
            del self._left[: len(some)]
