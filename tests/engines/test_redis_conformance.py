"""The conformance suite over a real Redis: groups declared with the topic or made by use, and composites over it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.adapters.open import open_place
from evermq.adapters.redis.appending import BATCH_COUNT_MAX, DELAY_MS_MAX
from evermq.drills.engines.redis import Redis
from evermq.ha.failover import Failover
from evermq.ha.route import Route
from evermq.port import Queue
from evermq.testing.conformance import GROUPS, Case, Opened, Subject, cases
from evermq.traits import Ack, Durable, Groups, Order, Traits

TRAITS = Traits(
    order=Order.KEY,
    ack=Ack.SINGLE,
    durable=Durable.DISK,
    groups=Groups.MANY,
    lanes=8,
    replay=True,
    delay_ms_max=DELAY_MS_MAX,
    message_bytes_max=1 << 20,
    batch_count_max=BATCH_COUNT_MAX,
)
running: list[Redis] = []


@asynccontextmanager
async def declared(topic: str) -> AsyncIterator[Opened]:
    """Groups are declared when the topic is made; opened again, it is another connection."""
    async with AsyncExitStack() as stack:
        place = await open_place(running[0].url() + "?lanes=8")
        stack.push_async_callback(place.close)
        await place.create(topic, groups=GROUPS)
        opened = Opened(await place.queue(topic))

        async def reopen() -> Queue:
            await opened.queue.close()
            other = await open_place(running[0].url())
            stack.push_async_callback(other.close)
            opened.queue = await other.queue(topic)
            return opened.queue

        opened.reopen = reopen
        stack.push_async_callback(place.drop, topic)
        yield opened


@asynccontextmanager
async def made_by_use(topic: str) -> AsyncIterator[Opened]:
    """Topics and groups come with first use, because the URL says so."""
    place = await open_place(running[0].url() + "?lanes=8&create=yes")
    try:
        yield Opened(await place.queue(topic), place=place)
        for each in await place.topics():
            if each.startswith(topic):
                await place.drop(each)
    finally:
        await place.close()


def memory(topic: str) -> MemoryQueue:
    """Takes no more than the Redis beside it."""
    return MemoryQueue(topic, message_bytes_max=TRAITS.message_bytes_max)


@asynccontextmanager
async def standby(topic: str) -> AsyncIterator[Opened]:
    """Behind a primary that takes everything."""
    async with made_by_use(topic) as opened:
        yield Opened(Failover(primary=memory(topic), standby=opened.queue))


@asynccontextmanager
async def routed(topic: str) -> AsyncIterator[Opened]:
    """A ladder whose first rung is a Redis, beside a second topic of the same one."""
    async with made_by_use(topic) as first, made_by_use(f"{topic}-second") as second:
        inner = Failover(primary=first.queue, standby=memory(topic))
        yield Opened(Route({"a": inner, "b": second.queue}))


ROUTED = Route({"a": MemoryQueue("traits"), "b": MemoryQueue("traits")}).traits
SUBJECTS = [
    Subject("redis-declared", declared, TRAITS, reopens=True, makes_groups=False),
    Subject("redis", made_by_use, TRAITS, places=True),
    Subject("redis-standby", standby, TRAITS & Failover(primary=MemoryQueue("t"), standby=MemoryQueue("t")).traits),
    Subject("redis-routed", routed, TRAITS & ROUTED),
]


@pytest.mark.parametrize("case", cases(SUBJECTS), ids=str)
async def test_conformance(case: Case, redis_server: Redis) -> None:
    running[:] = [redis_server]
    await case.run()
