"""One reader of one group of a topic in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from evermq.adapters.redis.leases import Leases
from evermq.ending import Ending
from evermq.errors import Closed
from evermq.pause import pause_ms
from evermq.port import Delivery

if TYPE_CHECKING:
    from evermq.adapters.redis.lane import Lane
    from evermq.adapters.redis.topic import Topic
    from evermq.adapters.redis.window import LaneWindow

__all__ = ["RedisReader"]

_POLL_MS = 4.0  # first pause of a reader that found nothing; doubled up to
_POLL_MS_MAX = 50.0


class RedisReader:
    """See `Reader`. A receipt is the lane: one of a topic that was dropped is no lane of the topic that was made anew.

    What came for a read that was given up is kept for the next one.
    """

    def __init__(self, topic: Topic, group: str, *, in_turn: bool = True) -> None:
        self._topic = topic
        self._group = group
        self._leases = Leases(topic, group, in_turn=in_turn)
        self._news = asyncio.Event()
        self._filling: asyncio.Task[None] | None = None
        self._ending = Ending()
        self._poll_ms = _POLL_MS
        self.closed = False
        topic.listeners.add(self._news.set)

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        clock = self._topic.clock
        until_ms = clock.monotonic_ms() + wait_ms
        while True:
            self._check()
            self._news.clear()
            found = await self._next(count_max)
            if found:
                self._poll_ms = _POLL_MS
                return found
            left_ms = until_ms - clock.monotonic_ms()
            if left_ms <= 0:
                return []
            await self._wait(left_ms)

    async def _next(self, count_max: int) -> list[Delivery]:
        """In a task of its own, so that a read that is given up loses nothing of what comes back."""
        if found := self._leases.pop(count_max):
            return found
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._leases.fill(count_max))
        await asyncio.shield(self._filling)
        self._check()
        return self._leases.pop(count_max)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._check()
        await self._leases.change(_by_lane(deliveries), lambda window, offsets: window.settle(offsets))

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self._check()
        due_ms = self._leases.server_ms() + pause_ms(delay_ms)

        def put_back(window: LaneWindow, offsets: Iterable[int]) -> None:
            window.release(offsets, due_ms)

        await self._leases.change(_by_lane(deliveries), put_back)
        self._topic.wake()

    async def close(self) -> None:
        self.closed = True
        self._leases.stop()
        self._topic.listeners.discard(self._news.set)
        self._news.set()
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        if self._filling:
            await asyncio.gather(self._filling, return_exceptions=True)
        await self._leases.leave()
        self._topic.wake()

    def _check(self) -> None:
        if self.closed:
            raise Closed(f"this reader of group {self._group} was closed: open another one")

    async def _wait(self, left_ms: float) -> None:
        """Until there is news in this process, something is due, or it is time to ask again."""
        wait_ms = min(left_ms, self._poll_ms, self._leases.wake_ms())
        self._poll_ms = min(2 * self._poll_ms, _POLL_MS_MAX)
        try:
            async with asyncio.timeout(max(1.0, wait_ms) / 1000):
                await self._news.wait()
        except TimeoutError:
            pass


def _by_lane(deliveries: Sequence[Delivery]) -> dict[Lane, list[int]]:
    lanes: set[Lane] = {delivery.receipt for delivery in deliveries}
    if len(lanes) == 1:
        return {lanes.pop(): [delivery.position.offset or 0 for delivery in deliveries]}
    by_lane: dict[Lane, list[int]] = {lane: [] for lane in lanes}
    for delivery in deliveries:
        by_lane[delivery.receipt].append(delivery.position.offset or 0)
    return by_lane
