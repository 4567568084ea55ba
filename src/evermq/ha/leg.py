"""One child of a merged reader."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from evermq.clock import Clock
from evermq.errors import Closed, Unavailable, Uncertain
from evermq.port import Delivery, Queue, Reader, Start

__all__ = ["Leg"]

_POLL_MS = 5_000
_PAUSE_MS = 200


@dataclass(slots=True, eq=False)
class Leg:
    """Its reader is opened when it can be, and again when it was lost. task, opening: what is under way."""

    key: str
    queue: Queue
    group: str
    start: Start
    clock: Clock
    reader: Reader | None = None
    task: asyncio.Task[list[Delivery]] | None = None
    opening: asyncio.Future[Reader] | None = None

    async def open(self) -> Reader:
        """The reader, opened if there is none. Cancelled, the opening goes on, and is waited for the next time."""
        if self.reader is None:
            if self.opening is None:
                self.opening = asyncio.ensure_future(self.queue.reader(self.group, start=self.start))
            await asyncio.wait([self.opening])
            opening, self.opening = self.opening, None
            self.reader = opening.result()
        return self.reader

    async def poll(self, count_max: int) -> list[Delivery]:
        """Wait for messages as long as it takes; a child that cannot be read is tried again after a pause."""
        while True:
            try:
                reader = await self.open()
                found = await reader.read(count_max=count_max, wait_ms=_POLL_MS)
            except Closed:
                self.reader = None
                await self.clock.sleep(_PAUSE_MS)
            except (Unavailable, Uncertain):
                await self.clock.sleep(_PAUSE_MS)
            else:
                if found:
                    return [self._wrap(delivery) for delivery in found]

    async def close(self) -> None:
        """End the poll, and give back what it found and what was handed out."""
        under_way = [task for task in (self.task, self.opening) if task]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self.opening and not self.opening.cancelled() and not self.opening.exception():
            self.reader = self.opening.result()
        if self.reader:
            await self.reader.close()

    def _wrap(self, delivery: Delivery) -> Delivery:
        message, position, _, attempt = delivery
        return Delivery(message, position._replace(via=(self.key, *position.via)), (self, delivery), attempt)
