"""Consumer: it has one reader at a time, gives up one that says Closed, and leaves none open."""

from __future__ import annotations

import asyncio

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.adapters.memory.reader import MemoryReader
from evermq.client import Consumer
from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed
from evermq.message import MessageFactory
from evermq.port import Delivery, Start
from evermq.testing.simulation.loop import simulate

_OPENING_MS = 300


class Slow(MemoryQueue):
    """Its readers take a while to open; those that there were are in `opened`."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("t", lanes=1, clock=clock)
        self.clock = clock
        self.asked = asyncio.Event()
        self.opened: list[MemoryReader] = []

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> MemoryReader:
        self.asked.set()
        await self.clock.sleep(_OPENING_MS)
        reader = await super().reader(group, start=start)
        self.opened.append(reader)
        return reader

    @property
    def open(self) -> int:
        return sum(not reader.closed for reader in self.opened)

    async def fill(self, *bodies: bytes) -> None:
        message = MessageFactory(self.clock)
        await self.append([message(body, key=body) for body in bodies])

    async def settled(self) -> None:
        async with asyncio.timeout(60):
            while await self.backlog("g"):
                await self.clock.sleep(10)


async def ignore(delivery: Delivery) -> None:
    pass


def pass_over(error: BaseException) -> None:
    """Of an outage that is meant."""


@pytest.mark.parametrize("seed", range(4))
def test_handler_that_ends_while_the_reader_is_opened_again_opens_none_beside_it(seed: int) -> None:
    async def main(clock: Clock) -> None:
        queue, begun, end = Slow(clock), asyncio.Event(), asyncio.Event()
        await queue.fill(b"0")

        async def handle(delivery: Delivery) -> None:
            if delivery.message.body == b"0":
                begun.set()
                await end.wait()

        consumer = Consumer(queue, "g", handle, concurrency=4, clock=clock, on_error=pass_over)
        await consumer.start()
        await begun.wait()
        queue.opened[0].shut()
        while not consumer.progress.errors:
            await clock.sleep(10)
        end.set()  # while the read makes a pause
        await clock.sleep(2 * _OPENING_MS)
        await queue.fill(*(b"%d" % number for number in range(1, 40)))
        await queue.settled()
        assert queue.open == 1
        await consumer.stop()
        assert queue.open == 0

    simulate(seed, main)


def test_two_starts_open_one_reader() -> None:
    async def main(clock: Clock) -> None:
        queue = Slow(clock)
        consumer = Consumer(queue, "g", ignore, clock=clock)
        await asyncio.gather(consumer.start(), consumer.start())
        await consumer.stop()
        assert [reader.closed for reader in queue.opened] == [True]

    simulate(1, main)


@pytest.mark.parametrize("seed", range(4))
def test_consumer_that_is_stopped_while_it_opens_does_not_start_after_that(seed: int) -> None:
    async def main(clock: Clock) -> None:
        queue = Slow(clock)
        others = asyncio.all_tasks()
        started, run = Consumer(queue, "g", ignore, clock=clock), Consumer(queue, "g", ignore, clock=clock)
        starting, running = asyncio.create_task(started.start()), asyncio.create_task(run.run())
        await queue.asked.wait()
        await clock.sleep(_OPENING_MS - 1 + seed % 2)
        await asyncio.gather(started.stop(), run.stop())
        async with asyncio.timeout(60):
            await asyncio.wait([starting, running])
        assert isinstance(starting.exception(), Closed | None)
        assert running.exception() is None
        assert queue.open == 0
        assert asyncio.all_tasks() == others

    simulate(seed, main)


def test_start_that_was_cut_short_by_a_stop_is_told_so() -> None:
    async def main(clock: Clock) -> None:
        queue = Slow(clock)
        consumer = Consumer(queue, "g", ignore, clock=clock)
        starting = asyncio.create_task(consumer.start())
        await queue.asked.wait()
        await consumer.stop()
        with pytest.raises(Closed, match="was stopped: make another one"):
            await starting
        assert queue.open == 0

    simulate(1, main)


def test_start_that_is_cancelled_may_be_tried_again() -> None:
    async def main(clock: Clock) -> None:
        queue = Slow(clock)
        await queue.fill(b"0")
        consumer = Consumer(queue, "g", ignore, clock=clock)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(_OPENING_MS / 2_000):
                await consumer.start()
        await clock.sleep(2 * _OPENING_MS)
        assert not queue.opened
        async with consumer:
            await queue.settled()
        assert queue.open == 0

    simulate(1, main)


class Lost(MemoryReader):
    """Says Closed at its second read though it was not closed, and holds what it has until it is. ending: what its
    close does."""

    ending = ""
    reads = 0

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        self.reads += 1
        if self.reads > 1:
            raise Closed("the connection was closed: open it again")
        return await super().read(count_max=count_max, wait_ms=wait_ms)

    async def close(self) -> None:
        await super().close()
        if self.ending == "hangs":
            await asyncio.Event().wait()
        if self.ending == "raises":
            raise OSError("no route")


class Losing(Slow):
    """Its first reader is a Lost one."""

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> MemoryReader:
        reader = await super().reader(group, start=start)
        if len(self.opened) == 1:
            reader.__class__ = Lost
        return reader


@pytest.mark.parametrize("ending", ["", "hangs", "raises"])
def test_reader_that_says_closed_is_closed_and_what_it_held_comes_again(
    ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lost, "ending", ending)

    async def main(clock: Clock) -> None:
        queue, handled, end = Losing(clock), list[bytes](), asyncio.Event()
        message = MessageFactory(clock)
        await queue.append([message(b"%d" % number, key=b"k") for number in range(4)])

        async def handle(delivery: Delivery) -> None:
            if not handled:
                await end.wait()
            handled.append(delivery.message.body)

        async with Consumer(queue, "g", handle, clock=clock, on_error=pass_over):
            while len(queue.opened) < 2:
                await clock.sleep(10)
            end.set()
            await queue.settled()
            assert queue.opened[0].closed
        assert queue.open == 0
        assert handled[-4:] == [b"0", b"1", b"2", b"3"]

    simulate(1, main)


class Anew(Slow):
    """A topic that may be made anew: its readers say Closed then, and those opened from then on read the new one."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.first = self._topic

    async def make_anew(self) -> None:
        self._topic = MemoryQueue("t", lanes=1, clock=self.clock)._topic
        for reader in self.opened:
            reader.shut()


def test_acknowledgement_of_a_message_settles_none_of_the_topic_that_was_made_in_its_place() -> None:
    async def main(clock: Clock) -> None:
        queue, seen, go = Anew(clock), list[bytes](), asyncio.Event()
        await queue.fill(b"old")

        async def handle(delivery: Delivery) -> None:
            seen.append(delivery.message.body)
            await (go.wait() if delivery.message.body == b"old" else asyncio.Event().wait())

        consumer = Consumer(queue, "g", handle, clock=clock, on_error=pass_over)
        await consumer.start()
        while not seen:
            await clock.sleep(10)
        await queue.make_anew()
        await queue.fill(b"new")
        while len(seen) < 2:
            await clock.sleep(10)
        go.set()
        while not consumer.progress.handled:
            await clock.sleep(10)
        await consumer.stop(drain_ms=1)
        [again] = await (await queue.reader("g")).read(count_max=2, wait_ms=1_000)
        assert (seen, again.message.body) == ([b"old", b"new"], b"new")

    simulate(1, main)


async def test_release_of_a_message_gives_back_none_of_the_topic_that_was_made_in_its_place() -> None:
    queue, told = Anew(SYSTEM), list[BaseException]()
    await queue.fill(b"old")
    found: list[Delivery] = []
    consumer = Consumer(queue, "g", on_error=told.append)
    async for delivery in consumer:
        found.append(delivery)
        if len(found) == 2:
            break
        await queue.make_anew()
        await queue.fill(b"new")
    await consumer.release(found[0], delay_ms=60_000)
    await consumer.stop()
    [again] = await (await queue.reader("g")).read(count_max=2, wait_ms=1_000)
    assert [each.message.body for each in (*found, again)] == [b"old", b"new", b"new"]
    assert [type(error) for error in told] == [Closed]
