"""What a reader makes of lanes that are lost, given away and opened anew meanwhile, over channels that are played."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from pamqp import commands
from pamqp.header import ContentHeader

from evermq.adapters.rabbitmq.reader import RabbitReader
from evermq.adapters.rabbitmq.readers import Readers
from evermq.adapters.rabbitmq.topic import Topic
from evermq.clock import SYSTEM
from evermq.port import Delivery

LIMIT_S = 10
Sink = Callable[[int, ContentHeader, bytes, bool], None]


class Channel:
    """Takes acknowledgements when it may; of a queue that has no leader nobody answers."""

    def __init__(self, link: Link, sink: Sink) -> None:
        self.connection = self.link = link
        self.is_closed = self.cancelled = False
        self.queue = ""
        self.acked: list[int] = []
        self._sink = sink
        self._last = 0

    def deliver(self, body: bytes) -> None:
        self._last += 1
        self._sink(self._last, ContentHeader(properties=commands.Basic.Properties()), body, False)

    async def consume(self, queue: str, prefetch: int) -> None:
        self.queue = queue

    async def settle(self, upto: int, others: list[int]) -> None:
        self.link.writes.set()
        await self.link.may_write.wait()
        self.acked += [tag for tag in (upto, *others) if tag]

    async def close(self) -> None:
        self.is_closed = True


class Link:
    """may_write: the server reads what it is sent."""

    def __init__(self) -> None:
        self.channels: list[Channel] = []
        self.writes, self.may_write = asyncio.Event(), asyncio.Event()
        self.may_write.set()

    async def channel(self, kind: object, *, sink: Sink, ended: object) -> Channel:
        self.channels.append(Channel(self, sink))
        return self.channels[-1]

    async def ask(self, asking: Awaitable[None], doing: str, *, patient: bool = False) -> None:
        await asking

    def drop(self, connection: object) -> None:
        pass

    def of(self, lane: int) -> Channel:
        """The last one of a lane."""
        return next(each for each in reversed(self.channels) if each.queue == f"orders:billing:{lane}")


class Control:
    """There is no reader elsewhere."""

    async def state(self, queue: str) -> Any:
        return SimpleNamespace(ready=0, consumers=1)


def readers_of(link: Any) -> Readers:
    """Of a topic with two lanes."""
    control: Any = Control()
    return Readers(Topic("orders", 2, ("billing",)), "billing", link, control, 100, SYSTEM)


async def taken(reader: RabbitReader) -> list[Delivery]:
    return await reader.read(count_max=100, wait_ms=0)


async def bodies(reader: RabbitReader) -> list[bytes]:
    return sorted(each.message.body for each in await taken(reader))


async def test_ack_that_waits_settles_nothing_in_a_lane_that_was_opened_anew_meanwhile() -> None:
    """Tags count from 1 in every channel: those of before name what is out now, and nobody has handled that."""
    link = Link()
    reader = readers_of(link).open()
    await taken(reader)
    link.of(0).deliver(b"a1")
    link.of(1).deliver(b"b1")
    found = await taken(reader)
    link.may_write.clear()
    async with asyncio.timeout(LIMIT_S):
        acking = asyncio.create_task(reader.ack(found))
        await link.writes.wait()  # the acknowledgements of lane 0 are being written
        link.of(1).is_closed = True
        await taken(reader)
        link.of(1).deliver(b"b2")
        assert await bodies(reader) == [b"b2"]
        link.may_write.set()
        await acking
    assert (link.of(0).acked, link.of(1).acked) == ([1], [])
    await reader.close()


async def test_what_came_before_its_lane_was_lost_is_neither_settled_nor_released() -> None:
    link = Link()
    reader = readers_of(link).open()
    await taken(reader)
    link.of(0).deliver(b"a1")
    found = await taken(reader)
    link.of(0).is_closed = True
    await taken(reader)
    link.of(0).deliver(b"a2")
    assert await bodies(reader) == [b"a2"]
    await reader.release(found)
    await reader.ack(found)
    assert await bodies(reader) == []
    assert link.of(0).acked == []
    await reader.close()
