"""Consumer: outages of the handler, ends of every kind, and code of others that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.adapters.memory.reader import MemoryReader
from evermq.client import Backoff, Consumer
from evermq.message import MessageFactory
from evermq.port import Delivery

QUICK = Backoff(first_ms=1, max_ms=5)


async def filled(count: int) -> MemoryQueue:
    """A queue with so many messages, of a key each: their bodies are their numbers."""
    queue, message = MemoryQueue("t"), MessageFactory()
    await queue.append([message(b"%d" % number, key=b"%d" % number) for number in range(count)])
    return queue


async def settled(queue: MemoryQueue) -> None:
    async with asyncio.timeout(20):
        while await queue.backlog("g"):
            await asyncio.sleep(0.001)


async def test_handler_is_tried_again_and_again_where_there_are_no_dead_letters() -> None:
    queue, attempts = await filled(1), []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if len(attempts) < 10:
            raise ValueError("not yet")

    async with Consumer(queue, "g", handle, attempts_max=2, backoff=QUICK) as consumer:
        await settled(queue)
    assert attempts == [1, 1, *range(2, 10)]
    assert consumer.progress.released == 8


class Held:
    """A handler that ends when it is let go, and notes what it began and ended with."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.ended: list[bytes] = []
        self.go = asyncio.Event()

    async def __call__(self, delivery: Delivery) -> None:
        self.begun.append(delivery.message.body)
        await self.go.wait()
        self.ended.append(delivery.message.body)

    async def has_begun(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.begun) < count:
                await asyncio.sleep(0.001)


async def test_run_that_is_cancelled_finishes_what_is_held_first() -> None:
    queue, held = await filled(10), Held()
    run = asyncio.create_task(Consumer(queue, "g", held.__call__, concurrency=2).run())
    await held.has_begun(2)
    run.cancel()
    await asyncio.sleep(0.01)
    assert not run.done()
    held.go.set()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert len(held.ended) == len(held.begun) == 10
    assert await queue.backlog("g") == 0


async def test_run_returns_when_it_is_stopped() -> None:
    queue, held = await filled(1), Held()
    consumer = Consumer(queue, "g", held.__call__)
    run = asyncio.create_task(consumer.run())
    await held.has_begun(1)
    held.go.set()
    await consumer.stop()
    await run
    assert await queue.backlog("g") == 0


async def test_second_stop_waits_for_the_first() -> None:
    queue, held = await filled(4), Held()
    consumer = Consumer(queue, "g", held.__call__)
    await consumer.start()
    await held.has_begun(4)
    stops = [asyncio.create_task(consumer.stop()) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert not any(stop.done() for stop in stops)
    held.go.set()
    await asyncio.gather(*stops)
    await consumer.stop()
    assert len(held.ended) == 4
    assert await queue.backlog("g") == 0


async def test_stop_does_not_wait_for_handlers_that_others_cancelled() -> None:
    queue, held = await filled(4), Held()
    others = asyncio.all_tasks()
    consumer = Consumer(queue, "g", held.__call__)
    await consumer.start()
    await held.has_begun(4)
    for task in asyncio.all_tasks() - others:
        task.cancel()
    async with asyncio.timeout(20):
        await consumer.stop()
    assert await queue.backlog("g") == 4


async def test_acknowledgement_that_a_stop_interrupts_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, held, acks, ack = await filled(4), Held(), [], MemoryReader.ack

    async def hangs_at_first(reader: MemoryReader, deliveries: Sequence[Delivery]) -> None:
        acks.append(deliveries)
        if len(acks) == 1:
            await asyncio.Event().wait()
        await ack(reader, deliveries)

    monkeypatch.setattr(MemoryReader, "ack", hangs_at_first)
    held.go.set()
    async with Consumer(queue, "g", held.__call__):
        while not acks:
            await asyncio.sleep(0.001)
    assert await queue.backlog("g") == 0
