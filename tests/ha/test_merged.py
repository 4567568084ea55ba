"""A reader of several queues, of which the reader of one is lost and opened again."""

from __future__ import annotations

import asyncio

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.adapters.memory.reader import MemoryReader
from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed
from evermq.ha.merged import Merged
from evermq.message import MessageFactory
from evermq.port import Delivery, Start
from evermq.testing.simulation.loop import simulate


class Lost(MemoryReader):
    """Says Closed once it is lost, and holds what it has until it is closed. ending: what its close does."""

    ending = ""
    is_lost = False

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        if self.is_lost:
            raise Closed("the connection was closed: open it again")
        return await super().read(count_max=count_max, wait_ms=wait_ms)

    async def close(self) -> None:
        await super().close()
        if self.is_lost and self.ending == "hangs":
            await asyncio.Event().wait()
        if self.is_lost and self.ending == "raises":
            raise OSError("no route")


class Anew(MemoryQueue):
    """May be made anew: its readers say Closed then, and those opened from then on read the new topic."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        super().__init__("t", lanes=1, clock=clock)
        self.clock = clock
        self.opened: list[Lost] = []

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> MemoryReader:
        reader = await super().reader(group, start=start)
        reader.__class__ = Lost
        assert isinstance(reader, Lost)
        self.opened.append(reader)
        return reader

    async def fill(self, *bodies: bytes, key: bytes = b"k") -> None:
        message = MessageFactory(self.clock)
        await self.append([message(body, key=key) for body in bodies])

    async def make_anew(self, *bodies: bytes) -> None:
        self._topic = MemoryQueue("t", lanes=1, clock=self.clock)._topic
        for reader in self.opened:
            reader.shut()
        await self.fill(*bodies)


async def read(merged: Merged, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await merged.read(count_max=count - len(found), wait_ms=1_000)
    return found


@pytest.mark.parametrize("ending", ["", "hangs", "raises"])
def test_child_that_says_closed_is_closed_and_what_it_held_comes_again(
    ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lost, "ending", ending)

    async def main(clock: Clock) -> None:
        queue = Anew(clock)
        await queue.fill(b"0", b"1")
        merged = await Merged.open({"primary": queue}, "g", clock=clock)
        await read(merged, 2)
        queue.opened[0].is_lost = True
        found = await read(merged, 2)
        assert [each.message.body for each in found] == [b"0", b"1"]
        assert [reader.closed for reader in queue.opened] == [True, False]
        await merged.close()

    simulate(1, main)


def test_closing_waits_for_the_close_of_a_child_that_was_lost() -> None:
    async def main(clock: Clock) -> None:
        queue, ended = Anew(clock), asyncio.Event()
        merged = await Merged.open({"primary": queue}, "g", clock=clock)

        async def slow_close() -> None:
            await clock.sleep(1_000)
            ended.set()

        queue.opened[0].is_lost = True
        queue.opened[0].close = slow_close  # type: ignore[method-assign]
        await merged.read(count_max=1, wait_ms=500)
        await merged.close()
        assert ended.is_set()

    simulate(1, main)


async def test_acknowledgement_of_a_message_settles_none_of_the_topic_that_was_made_in_its_place() -> None:
    queue = Anew()
    await queue.fill(b"old")
    merged = await Merged.open({"primary": queue}, "g")
    old = await read(merged, 1)
    await queue.make_anew(b"new")
    new = await read(merged, 1)
    await merged.ack(old)
    assert (new[0].message.body, await queue.backlog("g")) == (b"new", 1)
    await merged.ack(new)
    assert await queue.backlog("g") == 0
    await merged.close()


async def test_release_of_a_message_gives_back_none_of_the_topic_that_was_made_in_its_place() -> None:
    queue = Anew()
    await queue.fill(b"old")
    merged = await Merged.open({"primary": queue}, "g")
    old = await read(merged, 1)
    await queue.make_anew(b"new", b"behind")
    merged._legs[0].task = asyncio.create_task(merged._legs[0].poll(2))
    await asyncio.wait([merged._legs[0].task])
    await merged.release(old, delay_ms=60_000)
    found = await read(merged, 2)
    assert [each.message.body for each in found] == [b"new", b"behind"]
    await merged.ack(found)
    assert await queue.backlog("g") == 0
    await merged.close()
