"""What a reader writes down, keeps and gives back while its store and its rungs are slow, away, or another's."""

from __future__ import annotations

import asyncio

from tests.policy.test_ordered import Slot

from evermq.adapters.memory import MemoryQueue
from evermq.ha.route import Route
from evermq.message import MessageFactory
from evermq.policy.ordered import Ordered
from evermq.policy.ordered_reader import OrderedReader
from evermq.port import Delivery
from evermq.progress.memory import MemoryProgress
from evermq.settled import Settled
from evermq.testing.worlds.order_progress import DistantProgress, Way

make = MessageFactory()


class Distance:
    """The way to a store: calls of one kind wait at `doors`, or fail."""

    def __init__(self) -> None:
        self.doors: dict[str, asyncio.Event] = {}
        self.errors: dict[str, Exception] = {}

    async def __call__(self, call: str, is_back: bool) -> None:
        if not is_back and call in self.doors:
            await self.doors[call].wait()
        if not is_back and call in self.errors:
            raise self.errors[call]


def ladder(way: Way, store: MemoryProgress | None = None) -> Ordered:
    rungs = {"primary": MemoryQueue("t", lanes=3), "standby": MemoryQueue("t", lanes=2)}
    progress = DistantProgress(store or MemoryProgress(), way)
    return Ordered(Route(rungs), slot=Slot().take, progress=progress, rungs=rungs)


async def read(reader: OrderedReader, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += await reader.read(count_max=count - len(found), wait_ms=100)
    return found


async def settled(store: MemoryProgress) -> list[Settled]:
    """What the group is known to have settled, by streams."""
    states = await (await store.join("g")).look(range(384))
    return [Settled.unpack(text) for streams in states.values() for text in streams.values()]


async def test_what_is_settled_while_a_write_is_under_way_is_written_as_well() -> None:
    way, store = Distance(), MemoryProgress()
    queue = ladder(way, store)
    reader = await queue.reader("g")
    for body in ("1", "2"):
        await queue.append([make(body, key="k")])
    found = await read(reader, 2)
    way.doors["settle"] = asyncio.Event()
    acks = [asyncio.create_task(reader.ack([each])) for each in found]
    await asyncio.sleep(0.02)
    way.doors["settle"].set()
    await asyncio.gather(*acks)
    assert [each.next for each in await settled(store)] == [3]
    await queue.close()
