"""Places and queues whose close is cut, as by a timeout, over parts that are played."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from evermq.adapters.address import parse
from evermq.adapters.kafka.place import KafkaPlace
from evermq.adapters.kafka.queue import KafkaQueue
from evermq.adapters.kafka.settings import Settings

TOPIC: Any = SimpleNamespace(lanes=1, batch_bytes=1, name="orders", names=["0"], keeps_timestamps=True, traits=None)
LIMIT_S = 10


class Slow:
    """A reader, sender or admin whose close takes until it may end."""

    client = None
    closed = False

    def __init__(self) -> None:
        self.may, self.closes = asyncio.Event(), asyncio.Event()

    async def close(self) -> None:
        self.closes.set()
        await self.may.wait()
        self.closed = True


async def close_twice(thing: Any, slow: Slow) -> None:
    """The first is cut while this is being closed."""
    async with asyncio.timeout(LIMIT_S):
        closing = asyncio.create_task(thing.close())
        await slow.closes.wait()
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        slow.may.set()
        await thing.close()


async def test_queue_whose_close_is_cut_closes_its_readers_when_it_is_closed_again() -> None:
    """Else they keep their lanes, and nobody reads those."""
    slow = Slow()

    async def look(topic: Any) -> Any:
        return topic

    async def read(*_: Any, **__: Any) -> Any:
        return slow

    place: Any = SimpleNamespace(read=read, look=look, check=lambda: None)
    queue = KafkaQueue(place, TOPIC)
    await queue.reader("billing")
    await close_twice(queue, slow)
    assert slow.closed


async def test_place_whose_close_is_cut_closes_the_rest_when_it_is_closed_again() -> None:
    sender: Any = Slow()
    admin: Any = Slow()
    admin.may.set()
    await close_twice(KafkaPlace(Settings.of(parse("kafka://127.0.0.1:1/orders")), admin, sender), sender)
    assert sender.closed
    assert admin.closed
