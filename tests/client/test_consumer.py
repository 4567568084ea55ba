"""Consumer: outages of the handler, ends of every kind, and code of others that fails."""

from __future__ import annotations

import asyncio

from evermq.adapters.memory import MemoryQueue
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
