"""Producer: however much waits, a send costs the same."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence

from evermq.adapters.memory import MemoryQueue
from evermq.client import Producer
from evermq.client.producer_batch import ProducerBatch
from evermq.message import Message
from evermq.position import Position

_COUNT = 400


class Waits(MemoryQueue):
    """Appends once it is let go."""

    def __init__(self) -> None:
        super().__init__("t")
        self.go = asyncio.Event()

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        await self.go.wait()
        return await super().append(messages)


class Compared(asyncio.Future[None]):
    """Counts how often one is compared with another."""

    count = 0

    def __eq__(self, other: object) -> bool:
        Compared.count += 1
        return self is other

    __hash__ = asyncio.Future.__hash__


async def test_send_that_gets_its_room_is_not_looked_for_among_all_that_wait() -> None:
    """Of a hundred thousand each took milliseconds, in which nothing else could be done."""
    asyncio.get_running_loop().create_future = Compared  # type: ignore[method-assign]
    async with Producer(Waits(), memory_bytes_max=1_000) as producer:
        queue = producer._queue
        sends = [asyncio.create_task(producer.send(b"x" * 600)) for _ in range(_COUNT)]
        await asyncio.sleep(0)
        for each in sends[-10:]:
            each.cancel()
        assert isinstance(queue, Waits)
        queue.go.set()
        found = await asyncio.gather(*sends, return_exceptions=True)
    assert sum(isinstance(each, Position) for each in found) == _COUNT - 10
    assert Compared.count < _COUNT


class Looked(deque[ProducerBatch]):
    """Counts how many of it are looked at."""

    looked = 0

    def __iter__(self) -> Iterator[ProducerBatch]:
        for each in super().__iter__():
            self.looked += 1
            yield each


async def test_send_that_lingers_does_not_look_at_all_that_waits() -> None:
    queue = Waits()
    async with Producer(queue, linger_ms=1, batch_count_max=10) as producer:
        producer._waiting = waiting = Looked()
        for _ in range(_COUNT):
            producer.send_nowait(b"x")
        looked = waiting.looked
        queue.go.set()
    assert looked <= 2 * _COUNT
    assert await queue.backlog("g") == _COUNT
