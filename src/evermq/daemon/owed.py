"""Acknowledgements that a rung which is away could not take."""

from __future__ import annotations

import asyncio

from evermq.apart import apart
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
        left = await self._settle(deliveries, is_told=not self._left)
        if left:
            self._left += left
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
            self._left[: len(some)] = await self._settle(some)

    async def _settle(self, deliveries: list[Delivery], *, is_told: bool = False) -> list[Delivery]:
        """Which of them could not be acknowledged yet."""
        left, error = await apart(self._reader.ack, deliveries)
        if error and not isinstance(error, Unavailable | Uncertain):
            raise error
        if error and is_told:
            say(f"evermq: not acknowledged yet, and tried again: {error}")
        return left
