"""Consumer: what goes back because its message is another reader's by now goes back though the queue is away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from evermq.adapters.memory import MemoryQueue
from evermq.adapters.memory.reader import MemoryReader
from evermq.client import Consumer
from evermq.errors import Fenced, Unavailable
from evermq.message import MessageFactory
from evermq.port import Delivery, Start


@dataclass(frozen=True)
class Receipt:
    """One that tells whether its message is another reader's."""

    lane: str
    offset: int
    lost: set[int]

    @property
    def is_lost(self) -> bool:
        return self.offset in self.lost


class Leases(MemoryReader):
    """Loses what is in `lost`, and refuses to take back anything so often."""

    lost: set[int]
    refusals: int

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        found = await super().read(count_max=count_max, wait_ms=wait_ms)
        return [replace(each, receipt=Receipt(each.receipt.lane, each.receipt.offset, self.lost)) for each in found]

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("away for a moment")
        self.lost.clear()
        await super().release(deliveries, delay_ms=delay_ms)


class Leased(MemoryQueue):
    """Its readers refuse so often."""

    def __init__(self, refusals: int) -> None:
        super().__init__("t", lanes=1)
        self.refusals = refusals
        self.lost: set[int] = set()

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> MemoryReader:
        reader = await super().reader(group, start=start)
        reader.__class__ = Leases
        assert isinstance(reader, Leases)
        reader.lost, reader.refusals = self.lost, self.refusals
        return reader


@pytest.mark.parametrize("refusals", range(3))
async def test_key_of_a_lost_message_goes_back_however_often_that_fails(refusals: int) -> None:
    queue, message, tried = Leased(refusals), MessageFactory(), list[bytes]()
    told: list[BaseException] = []
    await queue.append([message(b"%d" % number, key=b"k") for number in range(4)])

    async def handle(delivery: Delivery) -> None:
        tried.append(delivery.message.body)
        if len(tried) == 1:
            queue.lost.add(0)
            raise Fenced("it is another reader's")

    async with Consumer(queue, "g", handle, on_error=told.append) as consumer, asyncio.timeout(20):
        while await queue.backlog("g"):
            await asyncio.sleep(0.001)
        assert consumer._window.count == 0
    assert tried == [b"0", b"0", b"1", b"2", b"3"]
    assert [type(error) for error in told] == [Fenced] + refusals * [Unavailable]


async def test_stop_does_not_wait_for_a_queue_that_takes_nothing_back() -> None:
    queue, message, told = Leased(1 << 30), MessageFactory(), asyncio.Event()
    await queue.append([message(b"x", key=b"k")])

    async def handle(delivery: Delivery) -> None:
        queue.lost.add(0)
        raise Fenced("it is another reader's")

    def on_error(error: BaseException) -> None:
        if isinstance(error, Unavailable):
            told.set()

    async with asyncio.timeout(20):
        async with Consumer(queue, "g", handle, on_error=on_error):
            await told.wait()
    [again] = await (await queue.reader("g")).read(count_max=2, wait_ms=0)
    assert again.message.body == b"x"
