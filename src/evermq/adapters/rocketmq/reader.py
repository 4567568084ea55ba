"""One reader of one group of a topic in RocketMQ."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from evermq.adapters.rocketmq.group import Group
from evermq.clock import Clock
from evermq.ending import Ending
from evermq.errors import Closed
from evermq.pause import pause_ms
from evermq.port import Delivery

__all__ = ["RocketReader"]


class RocketReader:
    """See `Reader`. A receipt is the group in this process, by name, and the token of a message in its window."""

    def __init__(self, group: Group, clock: Clock) -> None:
        self._group = group
        self._clock = clock
        self._ending = Ending()
        self.closed = False
        group.join(self)

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        until_ms = self._clock.monotonic_ms() + wait_ms
        window = self._group.window
        while True:
            self._group.news.clear()
            self._check()
            if found := window.take(self, count_max, self._clock.monotonic_ms()):
                self._group.want(count_max)
                name = self._group.client
                return [Delivery(i.message, i.position, (name, token), i.attempt) for token, i in found]
            self._group.fail()
            self._group.want(count_max)
            left_ms = until_ms - self._clock.monotonic_ms()
            if left_ms <= 0:
                return []
            await self._wait(left_ms)

    async def _wait(self, left_ms: float) -> None:
        """Until something happened, or something that was released is due."""
        due_ms = self._group.window.due_ms()
        if due_ms is not None:
            left_ms = min(left_ms, due_ms - self._clock.monotonic_ms())
        try:
            async with asyncio.timeout(max(1.0, left_ms) / 1000):
                await self._group.news.wait()
        except TimeoutError:
            pass

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._check()
        await self._group.ack(self, self._tokens(deliveries))

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self._check()
        due_ms = self._clock.monotonic_ms() + pause_ms(delay_ms)
        await self._group.release(self, self._tokens(deliveries), due_ms)

    async def close(self) -> None:
        self.closed = True
        await self._ending.reach(lambda: self._group.leave(self))

    def _tokens(self, deliveries: Sequence[Delivery]) -> list[int]:
        """Of those that are of this group's window; others are none of its business."""
        name = self._group.client
        return [token for each in deliveries for client, token in [each.receipt] if client == name]

    def _check(self) -> None:
        if self.closed:
            raise Closed("this reader was closed: open another one")
