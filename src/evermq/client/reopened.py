"""The reader of a consumer, opened again where it says Closed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from evermq.errors import Closed
from evermq.port import Delivery, Queue, Reader, Start
from evermq.ticket import is_cancelled

__all__ = ["STOPPED", "Reopened"]

STOPPED = "this consumer was stopped: make another one"
_CLOSE_MS_MAX = 5_000


class _Later(Delivery, frozen=True, gc=False):
    """Of a reader that was opened in the place of another one. opening: which one that was."""

    opening: int


class Reopened:
    """One reader at a time, however many of the consumer's tasks ask for it.

    What an earlier one handed out comes again, and no later one settles it: by its place that may be another message,
    of a topic that was made anew. The application's transactions know a delivery by its receipt, so it is not put
    there which reader it is of."""

    def __init__(self, queue: Queue, group: str, start: Start) -> None:
        self._queue = queue
        self._group = group
        self._start = start
        self._turn = asyncio.Lock()
        self._opening: asyncio.Task[Reader] | None = None
        self._openings = 0
        self._giving_up: set[asyncio.Task[None]] = set()
        self._closed = False
        self.current: Reader | None = None

    async def open(self) -> Reader:
        """The reader, which is opened if there is none. Raises Closed after a close, which ends what is under way."""
        async with self._turn:
            if self._closed:
                raise Closed(STOPPED)
            if self.current is None:
                self._opening = asyncio.create_task(self._open())
                try:
                    return await self._opening
                except asyncio.CancelledError:
                    if self.current:  # cancelled in the very moment: nobody has it
                        await self._give_up(self.current)
                    if self._closed and not is_cancelled():
                        raise Closed(STOPPED) from None
                    raise
            return self.current

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        """As a reader's. Raises Closed where it was lost; the next call opens another one."""
        reader = await self.open()
        opening = self._openings
        try:
            found = await reader.read(count_max=count_max, wait_ms=wait_ms)
        except Closed:
            await self._give_up(reader)
            raise
        if opening == 1:  # nearly always, so those cost nothing
            return found
        return [_Later(each.message, each.position, each.receipt, each.attempt, opening) for each in found]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if self.current and (mine := self._of_current(deliveries)):
            await self.current.ack(mine)

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        if self.current and (mine := self._of_current(deliveries)):
            await self.current.release(mine, delay_ms=delay_ms)

    async def close(self) -> None:
        """Leave nothing open, whoever opens it just now."""
        self._closed = True
        if self._opening:
            self._opening.cancel()  # of no effect on one that has ended
        async with self._turn:
            if self._giving_up:
                await asyncio.wait(self._giving_up)
            if self.current:
                await self.current.close()

    async def _open(self) -> Reader:
        """In a task of its own, which puts down what it has opened even where nobody waits for it any more."""
        self.current = reader = await self._queue.reader(self._group, start=self._start)
        self._openings += 1
        return reader

    async def _give_up(self, reader: Reader) -> None:
        """Whatever it still holds goes back, to the next one as well. It is closed even if this is cancelled."""
        if reader is self.current:
            self.current = None
            task = asyncio.create_task(_close(reader))
            self._giving_up.add(task)
            task.add_done_callback(self._giving_up.discard)
            await asyncio.wait([task])

    def _of_current(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        if self._openings == 1:
            return deliveries
        return [each for each in deliveries if isinstance(each, _Later) and each.opening == self._openings]


async def _close(reader: Reader) -> None:
    """What it fails with is passed over: it has said already that it is gone."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CLOSE_MS_MAX / 1000):
            await reader.close()
