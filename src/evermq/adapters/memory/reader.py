"""One reader of one group of a topic in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from evermq.adapters.memory.group import Group
from evermq.adapters.memory.topic import Topic
from evermq.errors import Closed
from evermq.pause import pause_ms
from evermq.port import Delivery
from evermq.position import Position

__all__ = ["MemoryReader"]


class MemoryReader:
    """See `Reader`. A receipt is the bare position."""

    def __init__(self, topic: Topic, group: Group) -> None:
        self._topic = topic
        self._group = group
        self._news = asyncio.Event()
        self._first_lane = len(group.readers)
        self.is_waiting = False
        self.closed = False
        group.readers[self] = []

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        until_ms = self._topic.clock.monotonic_ms() + wait_ms
        await asyncio.sleep(0)  # as with any engine others may run meanwhile, even if all polls come up empty
        while True:
            self._check()
            self._topic.move_due()
            self._news.clear()
            found = self._take(count_max)
            left_ms = until_ms - self._topic.clock.monotonic_ms()
            if found or left_ms <= 0:
                return found
            await self._wait(left_ms)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._check()
        for lane, offsets in _by_lane(deliveries):
            self._group.settle(self, lane, offsets)

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self._check()
        due_ms = self._topic.clock.now_ms() + pause_ms(delay_ms)
        for lane, offsets in _by_lane(deliveries):
            self._group.release(self, lane, offsets, due_ms)

    async def close(self) -> None:
        self.shut()

    def shut(self) -> None:
        """As `close`."""
        if not self.closed:
            self.closed = True
            self._group.leave(self)
            self.wake()

    def wake(self) -> None:
        """Look again."""
        self._news.set()

    def _check(self) -> None:
        if self.closed:
            raise Closed(f"this reader of group {self._group.name} was closed: open another one")
        if self._topic.dropped:
            raise Closed(f"topic {self._topic.name} was dropped: create it again")

    def _take(self, count_max: int) -> list[Delivery]:
        """From lane after lane; each read begins with another one."""
        lanes = self._topic.lanes
        now_ms = self._topic.clock.now_ms()
        found: list[Delivery] = []
        self._first_lane += 1
        for i in range(len(lanes)):
            number = (self._first_lane + i) % len(lanes)
            lane = lanes[number]
            for offset, attempt in self._group.take(self, number, count_max - len(found), now_ms):
                position = Position(lane.name, offset)
                found.append(Delivery(lane.stored[offset].message, position, position, attempt))
            if len(found) >= count_max:
                break
        return found

    async def _wait(self, wait_ms: float) -> None:
        """Until there is news, something is due or the time is over."""
        dues = [due for due in (self._group.due_ms(), *(d[0] for d in self._topic.delayed[:1])) if due is not None]
        if dues:
            wait_ms = min(wait_ms, max(1, min(dues) - self._topic.clock.now_ms()))
        self.is_waiting = True
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._news.wait()
        except TimeoutError:
            pass
        finally:
            self.is_waiting = False


def _by_lane(deliveries: Sequence[Delivery]) -> Iterator[tuple[int, list[int]]]:
    by_lane: dict[int, list[int]] = {}
    for delivery in deliveries:
        receipt: Position = delivery.receipt
        by_lane.setdefault(int(receipt.lane), []).append(receipt.offset or 0)
    yield from by_lane.items()
