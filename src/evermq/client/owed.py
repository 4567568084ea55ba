"""What a consumer has handled, and has to acknowledge."""

from __future__ import annotations

import asyncio

from evermq.apart import Settle, apart
from evermq.port import Delivery

__all__ = ["Owed"]

_BYTES_MAX = 256 << 20


class Owed:
    """ack: the reader's. count_max: beyond it, or beyond 256 MiB of bodies, nothing more is to be read: it is what is
    held in memory, and what is handled again if this process ends. It has to be far more than what a rung may have
    given that then goes away, since the others are read on."""

    def __init__(self, ack: Settle, count_max: int) -> None:
        self._ack = ack
        self._count_max = count_max
        self._deliveries: list[Delivery] = []
        self._bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    def add(self, delivery: Delivery) -> None:
        """It was handled."""
        self._deliveries.append(delivery)
        self._bytes += len(delivery.message.body)
        self._news.set()

    def look(self) -> None:
        """What was not paid is to be tried again."""
        self._news.set()

    async def wait(self) -> None:
        """Until there is something to pay."""
        await self._news.wait()
        self._news.clear()

    async def wait_for_room(self) -> None:
        """Until little enough is owed."""
        while len(self._deliveries) >= self._count_max or self._bytes >= _BYTES_MAX:
            self._room.clear()
            await self._room.wait()

    async def pay(self) -> None:
        """Acknowledge all of it. Raises what that of some failed with, which stay owed."""
        owed = tuple(self._deliveries)
        if not owed:
            return
        left, error = await apart(self._ack, owed)
        self._deliveries[: len(owed)] = left  # not before: a stop may come upon this, and again is harmless
        self._bytes = sum(len(each.message.body) for each in self._deliveries)
        self._room.set()
        if error:
            raise error
