"""Loops over a consumer that are left before its messages are: the next one goes on there."""

from __future__ import annotations

import asyncio

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.client import Consumer, blocking
from evermq.clock import SystemClock
from evermq.errors import Closed
from evermq.message import MessageFactory


class Stands(SystemClock):
    """A clock that stands still, by which every loop is quick: it reads far ahead."""

    def monotonic_ms(self) -> int:
        return 0


async def filled(count: int) -> MemoryQueue:
    """A queue with so many messages of one key: their bodies are their numbers."""
    queue, message = MemoryQueue("t", lanes=1), MessageFactory()
    await queue.append([message(b"%d" % number, key=b"k") for number in range(count)])
    return queue


async def test_next_loop_goes_on_where_the_last_one_was_left() -> None:
    queue, seen = await filled(1_000), list[int]()
    async with asyncio.timeout(20), Consumer(queue, "g", clock=Stands()) as consumer:
        while len(seen) < 1_000:
            async for delivery in consumer:
                seen.append(int(delivery.message.body))
                await consumer.ack(delivery)
                if len(seen) % 100 == 0:
                    break
        assert seen == list(range(1_000))
        assert await queue.backlog("g") == 0


async def test_what_a_loop_did_not_get_to_is_given_back_by_a_stop() -> None:
    queue, seen = await filled(100), list[int]()
    consumer = Consumer(queue, "g", clock=Stands())
    async for delivery in consumer:
        seen.append(int(delivery.message.body))
        if len(seen) == 10:
            await consumer.stop()
    assert seen == list(range(10))
    found = await (await queue.reader("g")).read(count_max=200, wait_ms=0)
    assert [int(each.message.body) for each in found] == list(range(100))


def test_next_loop_without_asyncio_goes_on_where_the_last_one_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "SYSTEM", Stands())
    queue, seen = blocking.run(filled(1_000)), list[int]()
    with blocking.Consumer(queue, "g") as consumer:
        while len(seen) < 900:
            for delivery in consumer:
                seen.append(int(delivery.message.body))
                if len(seen) % 100 == 0:
                    break
        while len(seen) < 1_000:
            seen += [int(delivery.message.body) for delivery in consumer.read()]
    assert seen == list(range(1_000))


def test_what_a_loop_without_asyncio_did_not_get_to_is_given_back_by_a_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "SYSTEM", Stands())
    queue, seen = blocking.run(filled(100)), list[int]()
    consumer = blocking.Consumer(queue, "g")
    for delivery in consumer:
        seen.append(int(delivery.message.body))
        if len(seen) == 10:
            consumer.close()
    assert seen == list(range(10))
    with pytest.raises(Closed):
        consumer.read()
    with blocking.Consumer(queue, "g") as other:
        assert [int(each.message.body) for each in other.read()] == list(range(100))
