"""What a reader makes of lanes that are lost, given away and opened anew meanwhile, over channels that are played."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pamqp import commands
from pamqp.header import ContentHeader

from evermq.adapters.rabbitmq.lane import Lane
from evermq.adapters.rabbitmq.options import RabbitOptions
from evermq.adapters.rabbitmq.place import RabbitPlace
from evermq.adapters.rabbitmq.queue import RabbitQueue
from evermq.adapters.rabbitmq.reader import RabbitReader
from evermq.adapters.rabbitmq.readers import Readers
from evermq.adapters.rabbitmq.topic import Topic
from evermq.clock import SYSTEM
from evermq.errors import Closed
from evermq.port import Delivery
from evermq.traits import Durable

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
        if queue in self.link.leaderless:
            self.link.waits.set()
            await asyncio.Event().wait()

    async def settle(self, upto: int, others: list[int]) -> None:
        self.link.writes.set()
        await self.link.may_write.wait()
        self.acked += [tag for tag in (upto, *others) if tag]

    async def close(self) -> None:
        self.link.closes.set()
        await self.link.may_close.wait()
        self.is_closed = True


class Link:
    """may_write: the server reads what it is sent. may_close: it answers who closes a channel."""

    def __init__(self) -> None:
        self.channels: list[Channel] = []
        self.is_closed = False
        self.leaderless: set[str] = set()
        self.waits, self.writes, self.closes = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.may_write, self.may_close = asyncio.Event(), asyncio.Event()
        self.may_write.set()
        self.may_close.set()

    async def channel(self, kind: object, *, sink: Sink, ended: object) -> Channel:
        self.channels.append(Channel(self, sink))
        return self.channels[-1]

    async def ask(self, asking: Awaitable[None], doing: str, *, patient: bool = False) -> None:
        await asking

    def drop(self, connection: object) -> None:
        pass

    async def close(self) -> None:
        self.is_closed = True

    def of(self, lane: int) -> Channel:
        """The last one of a lane."""
        return next(each for each in reversed(self.channels) if each.queue == f"orders:billing:{lane}")

    @property
    def consuming(self) -> list[str]:
        """Queues of which the server still sends something."""
        return [each.queue for each in self.channels if not each.is_closed]


class Publisher:
    """Appends nothing."""

    is_closed = False

    async def close(self) -> None:
        self.is_closed = True


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


async def opening(reader: RabbitReader, link: Link) -> asyncio.Task[list[Delivery]]:
    """A read that waits for a queue which has no leader."""
    link.leaderless.add("orders:billing:1")
    reading = asyncio.create_task(reader.read(count_max=1, wait_ms=1_000 * LIMIT_S))
    await link.waits.wait()
    return reading


async def cut(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_close_that_is_cut_while_lanes_are_being_opened_goes_on_and_the_next_one_waits_for_it() -> None:
    """Else the server would go on sending to channels of which nobody knows, until the place is closed."""
    link = Link()
    readers = readers_of(link)
    reader = readers.open()
    async with asyncio.timeout(LIMIT_S):
        await cut(await opening(reader, link))
        link.may_close.clear()
        closing = asyncio.create_task(reader.close())
        await link.closes.wait()
        await cut(closing)
        link.may_close.set()
        await reader.close()
    assert not link.consuming
    assert not readers.reading


async def test_queue_whose_close_is_cut_closes_the_other_readers_when_it_is_closed_again() -> None:
    link = Link()
    readers = readers_of(link)
    place: Any = SimpleNamespace(readers=lambda *_: readers)
    publisher: Any = Publisher()
    queue = RabbitQueue(Topic("orders", 2, ("billing",)), place, publisher, Durable.DISK)
    async with asyncio.timeout(LIMIT_S):
        for _ in range(2):
            await taken(await queue.reader("billing"))
        link.may_close.clear()
        closing = asyncio.create_task(queue.close())
        await link.closes.wait()
        await cut(closing)
        link.may_close.set()
        await queue.close()
    assert not link.consuming
    assert publisher.is_closed


async def test_place_whose_close_is_cut_ends_its_connections_all_the_same() -> None:
    """Else nobody ends them any more, and the server keeps for their readers what was fetched."""
    sending: Any = Link()
    receiving: Any = Link()
    place = RabbitPlace(sending, receiving, RabbitOptions(), message_bytes_max=1)
    readers, publisher = readers_of(receiving), Publisher()
    place.readers = lambda *_: readers  # type: ignore[method-assign]
    queue = RabbitQueue(Topic("orders", 2, ("billing",)), place, publisher, Durable.DISK)  # type: ignore[arg-type]
    place._queues.append(queue)
    async with asyncio.timeout(LIMIT_S):
        await taken(await queue.reader("billing"))
        receiving.may_close.clear()
        closing = asyncio.create_task(place.close())
        await receiving.closes.wait()
        await cut(closing)
        receiving.may_close.set()
        await place.close()
    assert [each.is_closed for each in (publisher, sending, receiving)] == [True, True, True]


async def test_read_that_waits_for_a_lane_when_its_reader_is_closed_is_told() -> None:
    link = Link()
    reader = readers_of(link).open()
    async with asyncio.timeout(LIMIT_S):
        reading = await opening(reader, link)
        await reader.close()
        with pytest.raises(Closed):
            await reading
    assert not link.consuming


async def test_lane_whose_giving_away_is_cut_is_given_away_all_the_same() -> None:
    """A reader that is closed meanwhile cuts it: nobody else would ever get what was sent to that channel."""
    link: Any = Link()
    lane = Lane("orders", 0, "orders:billing:0", link, 100, SYSTEM)
    async with asyncio.timeout(LIMIT_S):
        await lane.open(lambda: None)
        link.may_close.clear()
        giving = asyncio.create_task(lane.give_away())
        await link.closes.wait()
        await cut(giving)
        link.may_close.set()
        await lane.close()
    assert not link.consuming


async def test_lane_of_which_a_read_takes_something_is_not_given_away_in_that_moment() -> None:
    """Somebody else would handle what the application has in its hands."""
    link = Link()
    readers = readers_of(link)
    reader, other = readers.open(), readers.open()
    await taken(reader)
    lanes = [link.of(0), link.of(1)]
    await taken(other)
    for lane in lanes:
        lane.deliver(b"a")
    sharing = asyncio.create_task(reader.ack([]))  # chooses a lane to give away, since both are this reader's
    found = await asyncio.create_task(taken(reader))
    await sharing
    await reader.ack(found)
    assert found
    assert sum(len(lane.acked) for lane in lanes) == len(found)
    await reader.close()
    await other.close()
