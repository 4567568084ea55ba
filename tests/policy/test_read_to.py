"""How far a reader has read, and what a topic that is made anew makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.policy.test_ordered import Slot
from tests.policy.test_ordered_reader import read

from evermq.adapters.memory import MemoryQueue
from evermq.errors import Closed
from evermq.ha.merged import Merged
from evermq.ha.route import Route
from evermq.message import Message, MessageFactory
from evermq.policy.ordered import Ordered
from evermq.policy.read_to import ReadTo, places
from evermq.port import Delivery, Queue, Reader, Start
from evermq.position import Position
from evermq.progress.memory import MemoryProgress
from evermq.traits import Traits

make = MessageFactory()


def at(*offsets: int, lane: str = "3") -> list[Delivery]:
    return [Delivery(make("x"), Position(lane, offset, ("primary",)), None, 1) for offset in offsets]


class Topic(MemoryQueue):
    """An engine that tells one topic from another one of its name."""

    topic_id = "first"


class Opened(Merged):
    """Of which the reader of the primary was opened so often."""

    def __init__(self) -> None:
        super().__init__({}, "g")
        self.count = 1

    @property
    def openings(self) -> dict[str, int]:
        return {"primary": self.count}


def test_offset_that_goes_back_is_where_reading_goes_on() -> None:
    """The topic was made anew, or its end was lost: what is behind was not read."""
    read_to = ReadTo()
    read_to.saw(at(7, 8))
    assert read_to.report() == {"primary/3": 9}
    read_to.saw(at(0))
    assert read_to.report() == {"primary/3": 1}


def test_what_comes_again_says_nothing_of_what_is_behind_it() -> None:
    read_to = ReadTo()
    [first, second] = at(7, 8)
    read_to.saw([first, second, Delivery(first.message, first.position, None, 2)])
    assert read_to.report() == {"primary/3": 9}


def test_what_was_read_of_a_topic_is_not_told_of_another_one_of_its_name() -> None:
    topic, standby = Topic("t"), MemoryQueue("t")
    read_to = ReadTo({"primary": topic, "standby": standby})
    read_to.saw(at(7))
    [(before, end)] = read_to.report().items()
    assert (before, end) == (f"{places({'primary': topic})['primary']}/3", 8)
    topic.topic_id = "second"
    assert read_to.report() == {}
    read_to.saw(at(2))
    [(after, end)] = read_to.report().items()
    assert end == 3
    assert after != before


def test_what_was_read_through_a_reader_is_not_told_once_it_is_opened_again() -> None:
    inner = Opened()
    read_to = ReadTo({"primary": MemoryQueue("t")}, inner)
    read_to.saw(at(7))
    assert read_to.report() == {"primary/3": 8}
    inner.count = 2
    assert read_to.report() == {}


class Renewed:
    """See `Queue`. A rung that is made anew; while it is `slow`, it hands nothing out."""

    name = "t"

    def __init__(self) -> None:
        self.is_slow = False
        self.queue = MemoryQueue("t", lanes=6)

    @property
    def traits(self) -> Traits:
        return self.queue.traits

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        return await self.queue.append(messages)

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Reader:
        return _Reading(self, await self.queue.reader(group, start=start))

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return await self.queue.backlog(group, lane)

    async def end(self, lane: str) -> int:
        return await self.queue.end(lane)

    async def close(self) -> None:
        await self.queue.close()


class _Reading:
    """See `Reader`."""

    def __init__(self, rung: Renewed, inner: Reader) -> None:
        self._rung = rung
        self._queue = rung.queue
        self._inner = inner
        self.ack, self.release, self.close = inner.ack, inner.release, inner.close

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        for _ in range(50):
            if self._rung.queue is not self._queue:
                raise Closed("it was made anew")
            if not self._rung.is_slow and (found := await self._inner.read(count_max=count_max, wait_ms=0)):
                return found
            await asyncio.sleep(0.01)
        return []


async def test_what_was_read_before_a_rung_was_made_anew_does_not_prove_that_a_message_is_nowhere() -> None:
    primary, standby = Renewed(), Renewed()
    rungs: dict[str, Queue] = {"primary": primary, "standby": standby}
    queue = Ordered(Route(rungs), slot=Slot().take, progress=MemoryProgress(), rungs=rungs)
    reader = await queue.reader("g")
    for number in range(5):
        await queue.append([make(f"old {number}", key="k")])
    await reader.ack(await read(reader, 5))
    primary.queue, primary.is_slow = MemoryQueue("t", lanes=6), True
    await queue.append([make("1", key="k")])
    queue._queue.append = standby.append  # type: ignore[method-assign]
    await queue.append([make("2", key="k")])
    await queue.append([make("3", key="k")])
    assert await reader.read(count_max=3, wait_ms=1_500) == []
    primary.is_slow = False
    found = await read(reader, 3)
    assert [(each.message.body, each.message.headers) for each in found] == [(b"1", {}), (b"2", {}), (b"3", {})]
    await queue.close()
