"""What a consumer reads ahead: much for quick handlers, little for slow ones, and always enough for idle ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.adapters.memory.reader import MemoryReader
from evermq.client import Backoff, Consumer, blocking
from evermq.client.pace import Pace
from evermq.clock import SystemClock
from evermq.message import MessageFactory
from evermq.port import Delivery


class Hands(SystemClock):
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.time_ms = 0

    def monotonic_ms(self) -> int:
        return self.time_ms


async def filled(count: int, key: Callable[[int], str | None] = lambda number: None) -> MemoryQueue:
    queue, message = MemoryQueue("t", lanes=1), MessageFactory()
    await queue.append([message(b"%d" % number, key=key(number)) for number in range(count)])
    return queue


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.001)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many messages each read brought."""
    found, read = [], MemoryReader.read

    async def counted(reader: MemoryReader, *, count_max: int, wait_ms: int) -> list[Delivery]:
        deliveries = await read(reader, count_max=count_max, wait_ms=wait_ms)
        found.append(len(deliveries))
        return deliveries

    monkeypatch.setattr(MemoryReader, "read", counted)
    return found


async def test_message_that_no_handler_saw_has_had_no_attempt_when_a_consumer_stops() -> None:
    queue, begun = await filled(2_000), set[bytes]()

    async def handle(delivery: Delivery) -> None:
        begun.add(delivery.message.body)
        await asyncio.Event().wait()

    for _ in range(3):
        begun.clear()
        consumer = Consumer(queue, "g", handle, concurrency=4)
        await consumer.start()
        await until(lambda: len(begun) == 4)
        await consumer.stop(drain_ms=1)
    found = await (await queue.reader("g")).read(count_max=2_000, wait_ms=0)
    assert {delivery.message.body for delivery in found if delivery.attempt > 1} == begun
    assert len(found) == 2_000


async def test_quick_handlers_are_given_hundreds_at_a_time(sizes: list[int]) -> None:
    queue = await filled(5_000)

    async def handle(delivery: Delivery) -> None:
        pass

    async with Consumer(queue, "g", handle, clock=Hands()) as consumer:
        await until(lambda: consumer.progress.handled == 5_000)
    assert sizes[:4] == [16, 16, 80, 272]
    assert set(sizes[4:13]) == {500}


async def test_handlers_that_became_slow_are_given_no_more_than_they_begin(sizes: list[int]) -> None:
    queue, clock = await filled(4_000), Hands()
    slow, go = asyncio.Event(), asyncio.Semaphore(0)

    async def handle(delivery: Delivery) -> None:
        if consumer.progress.handled >= 2_000:
            slow.set()
            clock.time_ms += 5_000
            await go.acquire()

    consumer = Consumer(queue, "g", handle, concurrency=2, clock=clock)
    async with consumer:
        await slow.wait()
        held = sum(sizes)
        for count in range(2_000, held + 50):
            go.release()
            await until(lambda count=count: consumer.progress.handled > count)  # type: ignore[misc]
        assert sum(sizes) <= held + 60
        go = asyncio.Semaphore(10_000)


async def test_idle_handlers_are_given_other_keys_past_one_that_hangs() -> None:
    queue = await filled(300, lambda number: "hangs" if number < 290 else f"k{number}")

    async def handle(delivery: Delivery) -> None:
        if delivery.message.key == b"hangs":
            await asyncio.Event().wait()

    consumer = Consumer(queue, "g", handle, concurrency=2)
    await consumer.start()
    await until(lambda: consumer.progress.handled == 10)
    await consumer.stop(drain_ms=1)


async def test_idle_handlers_are_given_others_past_many_that_wait_for_their_next_attempt() -> None:
    queue = await filled(300)

    async def handle(delivery: Delivery) -> None:
        if int(delivery.message.body) < 200:
            raise ValueError("never")

    consumer = Consumer(queue, "g", handle, concurrency=2, backoff=Backoff(first_ms=1 << 30, max_ms=1 << 30))
    await consumer.start()
    await until(lambda: consumer.progress.handled == 100)
    await consumer.stop(drain_ms=1)


def test_pace_is_what_is_done_in_a_second_and_grows_by_steps() -> None:
    clock = Hands()
    pace = Pace(clock, concurrency=10, count_max=1_000)
    pace.go()
    assert pace.look(19) == 0
    assert [pace.look(20), pace.look(40), pace.look(60), pace.look(80)] == [40, 160, 640, 1_000]
    clock.time_ms += 2_000
    assert pace.look(90) == 5
    pace.rest()
    clock.time_ms += 100_000
    pace.go()
    clock.time_ms += 500
    assert pace.look(110) == 40
    clock.time_ms += 1_000
    assert pace.look(110) == 0


async def test_iteration_takes_one_by_one_until_it_is_known_to_be_quick(sizes: list[int]) -> None:
    queue, clock = await filled(700), Hands()
    seen = 0
    async for delivery in (consumer := Consumer(queue, "g", clock=clock)):
        await consumer.ack(delivery)
        seen += 1
        clock.time_ms += 1_000 if seen < 5 else 0
        if seen == 700:
            break
    assert sizes[:4] == [1, 1, 1, 1]
    assert max(sizes) >= 256
    await consumer.stop()


def test_blocking_iteration_that_ends_early_has_read_little_ahead() -> None:
    queue = blocking.Queue(MemoryQueue("t"))
    with blocking.Producer(queue) as producer:
        producer.send_many([b"x"] * 100)
    with blocking.Consumer(queue, "g") as consumer:
        consumer.ack(next(iter(consumer)))
    with blocking.Consumer(queue, "g") as consumer:
        assert [delivery.attempt for delivery in consumer.read()].count(2) == 0
