"""A producer has several appends under way where the queue keeps their order, and one everywhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from evermq.adapters.memory import MemoryQueue
from evermq.client import Producer
from evermq.message import Message
from evermq.position import Position


class Slow(MemoryQueue):
    """Takes a few turns of the loop for an append, and notes how many were under way."""

    def __init__(self) -> None:
        super().__init__("t", lanes=1)
        self.under_way = self.most = self.appends = 0

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self.under_way += 1
        self.appends += 1
        self.most = max(self.most, self.under_way)
        try:
            positions = await super().append(messages)
            for _ in range(5):
                await asyncio.sleep(0)
            return positions
        finally:
            self.under_way -= 1


class Ordering(Slow):
    appends_max = 2


async def send_all(queue: Slow, count: int, **options: Any) -> list[bytes]:
    async with Producer(queue, **options) as producer:
        positions = await asyncio.gather(*(producer.send(b"%d" % i, key="k") for i in range(count)))
        assert [position.offset for position in positions] == list(range(count))
        for i in range(count, count + 10):
            producer.send_nowait(b"%d" % i, key="k")
    found = await (await queue.reader("g")).read(count_max=1_000, wait_ms=0)
    return [delivery.message.body for delivery in found]


async def test_many_that_wait_are_shared_out_among_appends_in_order() -> None:
    queue = Ordering()
    assert await send_all(queue, 300) == [b"%d" % i for i in range(310)]
    assert (queue.most, queue.under_way) == (2, 0)


async def test_few_that_wait_go_in_one_append() -> None:
    queue = Ordering()
    await send_all(queue, 20)
    assert queue.appends == 2


async def test_one_append_is_under_way_where_the_queue_does_not_order_them() -> None:
    queue = Slow()
    assert await send_all(queue, 300) == [b"%d" % i for i in range(310)]
    assert queue.most == 1


async def test_one_append_is_under_way_where_it_may_have_to_be_repeated_first() -> None:
    queue = Ordering()
    await send_all(queue, 300, retry_ms_max=1_000)
    assert queue.most == 1
