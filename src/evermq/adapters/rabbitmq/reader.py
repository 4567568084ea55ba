"""One reader of one group of a topic in RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evermq.adapters.rabbitmq.lane import Lane
from evermq.ending import Ending
from evermq.errors import Closed, EvermqError
from evermq.pause import pause_ms
from evermq.port import Delivery

if TYPE_CHECKING:
    from evermq.adapters.rabbitmq.readers import Readers

__all__ = ["RabbitReader"]

_TEND_MS = 200
_COUNT_TURNS = 5  # so many of these go by before the broker is asked again how many readers there are


class RabbitReader:
    """See `Reader`. A receipt is the session of a lane and a delivery tag.

    Lanes are shared with the other readers of the group: who has more than its share gives up what it has nothing of in
    the application's hands, and who does not come for what it released gives that lane up.
    """

    def __init__(self, readers: Readers, lanes: Sequence[Lane], line: Lane) -> None:
        self._readers = readers
        self._lanes = lanes
        self._line = line
        self._news = asyncio.Event()
        self._opening: asyncio.Task[None] | None = None
        self._tending: asyncio.Task[None] | None = None
        self._ending = Ending()
        self._turn = 0
        self._peers = 1
        self._released_ms: int | None = None
        self.closed = False

    @property
    def lanes(self) -> Sequence[Lane]:
        """Those of the topic."""
        return self._lanes

    @property
    def reads(self) -> bool:
        """Whether it has begun."""
        return self._tending is not None and not self.closed

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        self._check()
        clock = self._readers.clock
        until_ms = clock.monotonic_ms() + wait_ms
        if self._tending is None:
            self._tending = asyncio.create_task(self._tend())
        while True:
            self._news.clear()
            await self._open()
            self._check()
            if found := self._take(count_max):
                return found
            left_ms = until_ms - clock.monotonic_ms()
            if left_ms <= 0:
                return []
            await self._wait(left_ms)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._check()
        for lane, session, tags in self._by_lane(deliveries):
            await lane.settle(session, tags)
        if self._readers.reading > 1:
            await self._share(max(self._peers, self._readers.reading))

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self._check()
        now_ms = self._readers.clock.monotonic_ms()
        due_ms = now_ms + pause_ms(delay_ms)
        for lane, session, tags in self._by_lane(deliveries):
            lane.release(session, tags, due_ms)
        self._released_ms = now_ms
        self._news.set()

    async def close(self) -> None:
        self.closed = True
        self._news.set()
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        """A lane that is being opened may wait for long: for a queue that has no leader."""
        tasks = [task for task in (self._tending, self._opening) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._readers.leave(self, [*self._lanes, self._line])

    def _take(self, count_max: int) -> list[Delivery]:
        """From every lane, another one first each time."""
        self._turn += 1
        found: list[Delivery] = []
        for at in range(len(self._lanes)):
            if len(found) >= count_max:
                break
            found += self._lanes[(self._turn + at) % len(self._lanes)].take(count_max - len(found))
        if found:
            self._released_ms = None
        return found

    async def _open(self) -> None:
        """Stand in line for every lane; in a task of its own, so that a read that is given up breaks nothing."""
        self._check()
        if self._opening is None:
            missing = [lane for lane in (*self._lanes, self._line) if not lane.is_open and not lane.is_away]
            if not missing:
                return
            self._opening = asyncio.create_task(self._open_all(missing))
        opening = self._opening
        await asyncio.wait([opening])
        if self._opening is opening:
            self._opening = None
        if not opening.cancelled():  # `close` does that; the read that waits is not cancelled by it
            opening.result()

    async def _open_all(self, lanes: Sequence[Lane]) -> None:
        found = await asyncio.gather(*(lane.open(self._news.set) for lane in lanes), return_exceptions=True)
        for error in found:
            if isinstance(error, BaseException):
                raise error

    async def _wait(self, left_ms: float) -> None:
        """Until something came, something that was released is due, or it is time to look after the lanes."""
        dues = [due for lane in self._lanes if (due := lane.window.due_ms()) is not None]
        now_ms = self._readers.clock.monotonic_ms()
        wait_ms = min(left_ms, _TEND_MS, *(due - now_ms for due in dues))
        try:
            async with asyncio.timeout(max(1.0, wait_ms) / 1000):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _tend(self) -> None:
        """Give up what others wait for.

        Asks whether it is closed, since a cancellation is not enough: the driver makes another error of it where the
        server closes a channel in the same moment."""
        turn = 0
        while not self.closed:
            await self._readers.clock.sleep(_TEND_MS)
            try:
                if turn % _COUNT_TURNS == 0:
                    self._peers = await self._readers.count()
                await self._share(max(self._peers, self._readers.reading))
                await self._let_go()
            except EvermqError:
                pass  # the next read meets the same, and says so
            turn += 1

    async def _share(self, readers: int) -> None:
        """Give up what is over this reader's share."""
        active = [lane for lane in self._lanes if lane.is_active]
        surplus = len(active) - -(-len(self._lanes) // readers)
        idle = [lane for lane in active if not lane.window.out_count]
        if surplus > 0 and idle:
            await asyncio.gather(*(lane.give_away() for lane in idle[:surplus]))

    async def _let_go(self) -> None:
        """What was released is not read again here: perhaps somebody else reads it."""
        released_ms = self._released_ms
        if released_ms is None or self._readers.clock.monotonic_ms() - released_ms < _TEND_MS:
            return
        if max(self._readers.reading, self._peers) > 1:
            for lane in self._lanes:
                if lane.is_active and lane.window.comes_again(self._readers.clock.monotonic_ms()):
                    await lane.give_away()

    def _by_lane(self, deliveries: Sequence[Delivery]) -> list[tuple[Lane, str, list[int]]]:
        """The tags by lane and session. While the first lane is told, the second may begin another session."""
        tags: dict[str, list[int]] = {}
        for delivery in deliveries:
            session, tag = delivery.receipt
            tags.setdefault(session, []).append(tag)
        return [(lane, lane.session, tags[lane.session]) for lane in self._lanes if lane.session in tags]

    def _check(self) -> None:
        if self.closed:
            raise Closed("this reader was closed: open another one")
