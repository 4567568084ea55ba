"""One reader of one group of a topic in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from evermq.adapters.redis.leases import Leases
from evermq.errors import Closed
from evermq.port import Delivery

if TYPE_CHECKING:
    from evermq.adapters.redis.topic import Topic
    from evermq.adapters.redis.window import LaneWindow

__all__ = ["RedisReader"]

_POLL_MS = 4.0  # first pause of a reader that found nothing; doubled up to
_POLL_MS_MAX = 50.0


class RedisReader:
    """See `Reader`. A receipt is the bare position.

    What was fetched for a read that was given up is kept for the next one.
    """

    def __init__(self, topic: Topic, group: str) -> None:
        self._topic = topic
        self._group = group
        self._leases = Leases(topic, group)
        self._news = asyncio.Event()
        self._fetching: asyncio.Task[list[Delivery]] | None = None
        self._unread: list[Delivery] = []
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
        if not self._unread:
            if self._fetching is None:
                self._fetching = asyncio.create_task(self._leases.fetch(count_max))
            fetching = self._fetching
            try:
                self._unread = await asyncio.shield(fetching)
            finally:
                if fetching.done():
                    self._fetching = None
            self._check()
        found, self._unread = self._unread[:count_max], self._unread[count_max:]
        return found

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._check()
        await self._leases.change(_by_lane(deliveries), lambda window, offsets: window.settle(offsets))

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self._check()
        due_ms = self._leases.server_ms() + max(0, delay_ms)

        def put_back(window: LaneWindow, offsets: Iterable[int]) -> None:
            window.release(offsets, due_ms)

        await self._leases.change(_by_lane(deliveries), put_back)
        self._topic.wake()

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._topic.listeners.discard(self._news.set)
        self._news.set()
        unseen = list(self._unread)
        if fetching := self._fetching:
            await asyncio.wait([fetching])
            if not fetching.cancelled() and not fetching.exception():
                unseen += fetching.result()
        await self._leases.leave(_by_lane(unseen))
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


def _by_lane(deliveries: Sequence[Delivery]) -> dict[str, list[int]]:
    by_lane: dict[str, list[int]] = {}
    for delivery in deliveries:
        lane, offset, _ = delivery[2]
        found = by_lane.get(lane)
        if found is None:
            by_lane[lane] = [offset]
        else:
            found.append(offset)
    return by_lane
