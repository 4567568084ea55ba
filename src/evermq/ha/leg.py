"""One child of a merged reader."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from evermq.clock import Clock
from evermq.errors import Closed, Unavailable, Uncertain
from evermq.ha.pace import Pace
from evermq.ha.together import close_all
from evermq.port import Delivery, Queue, Reader, Start
from evermq.position import Position

__all__ = ["Leg"]

_POLL_MS = 5_000
_PAUSE_MS = 200
_REFUSED_PAUSE_MS = 1_000


@dataclass(slots=True, eq=False)
class Leg:
    """Its reader is opened when it can be, and again when it was lost. task, opening, giving_up: what is under way.
    pace: is told of what the first child gives, and holds back the others. refused: the last poll ended with an error.
    openings: how often the reader was opened; a receipt says which one it is of."""

    key: str
    queue: Queue
    group: str
    start: Start
    clock: Clock
    is_first: bool = True
    pace: Pace | None = None
    reader: Reader | None = None
    task: asyncio.Task[list[Delivery]] | None = None
    opening: asyncio.Future[Reader] | None = None
    giving_up: asyncio.Task[None] | None = None
    given: int = 0
    refused: bool = False
    openings: int = 0

    async def open(self) -> Reader:
        """The reader, opened if there is none. Cancelled, the opening goes on, and is waited for the next time."""
        if self.reader is None:
            if self.opening is None:
                self.opening = asyncio.ensure_future(self.queue.reader(self.group, start=self.start))
            await asyncio.wait([self.opening])
            opening, self.opening = self.opening, None
            self.reader = opening.result()
            self.openings += 1
        return self.reader

    async def poll(self, count_max: int) -> list[Delivery]:
        """Wait for messages as long as it takes; a child that cannot be read is tried again after a pause."""
        if self.refused:
            await self.clock.sleep(_REFUSED_PAUSE_MS)
        while True:
            try:
                reader = await self.open()
                found = await self._read(reader, count_max)
            except Closed:
                await self._give_up()
                await self.clock.sleep(_PAUSE_MS)
            except (Unavailable, Uncertain):
                await self.clock.sleep(_PAUSE_MS)
            except Exception:
                self.refused = True
                raise
            else:
                self.refused = False
                if found:
                    return self._wrap(found)

    async def _read(self, reader: Reader, count_max: int) -> list[Delivery]:
        pace = self.pace
        if pace is None:
            return await reader.read(count_max=count_max, wait_ms=_POLL_MS)
        if self.is_first:
            found = await reader.read(count_max=count_max, wait_ms=_POLL_MS)
            if found:
                pace.saw_live()
            return found
        await pace.wait(self.given)
        self.given = 0
        found = await reader.read(count_max=pace.count_max(count_max), wait_ms=_POLL_MS)
        self.given = len(found)
        return found

    async def close(self) -> None:
        """End the poll, and give back what it found and what was handed out."""
        under_way = [task for task in (self.task, self.opening) if task]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self.opening and not self.opening.cancelled() and not self.opening.exception():
            self.reader = self.opening.result()
        if self.giving_up:
            await asyncio.wait([self.giving_up])
        if self.reader:
            await self.reader.close()

    async def _give_up(self) -> None:
        """What the reader still holds goes back, to the next one as well. It is closed even if this is cancelled."""
        if self.reader:
            reader, self.reader = self.reader, None
            self.giving_up = asyncio.create_task(_close(reader))
        if self.giving_up:
            await asyncio.wait([self.giving_up])

    def _wrap(self, found: list[Delivery]) -> list[Delivery]:
        """As the parent's: with the key of this child in front of the positions."""
        wrapped: list[Delivery] = []
        put = wrapped.append
        inner: tuple[str, ...] | None = None
        via: tuple[str, ...] = (self.key,)
        for delivery in found:
            at = delivery.position
            if at.via is not inner:
                inner, via = at.via, (self.key, *at.via)
            receipt = (self, self.openings, delivery)
            put(Delivery(delivery.message, Position(at.lane, at.offset, via), receipt, delivery.attempt))
        return wrapped


async def _close(reader: Reader) -> None:
    """What it fails with is passed over: it has said already that it is gone."""
    with contextlib.suppress(Exception):
        await close_all([reader])
