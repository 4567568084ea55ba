"""The conformance suite over a real RabbitMQ: one lane and several, and composites over it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from tests.needed import memory_disk

from evermq.adapters.memory import MemoryQueue
from evermq.adapters.open import open_log, open_place
from evermq.adapters.rabbitmq.queue import BATCH_COUNT_MAX
from evermq.drills.engines.rabbitmq import RabbitMQ
from evermq.ha.failover import Failover
from evermq.ha.spooled import Spooled
from evermq.port import Queue
from evermq.testing.conformance import GROUPS, Case, Open, Opened, Subject, cases
from evermq.traits import Ack, Durable, Groups, Order, Traits

BYTES_MAX = 4 << 20
TRAITS = Traits(
    order=Order.KEY,
    ack=Ack.SINGLE,
    durable=Durable.DISK,
    groups=Groups.MANY,
    lanes=1,
    replay=False,
    delay_ms_max=0,
    message_bytes_max=BYTES_MAX,
    batch_count_max=BATCH_COUNT_MAX,
)
running: list[RabbitMQ] = []


def with_lanes(lanes: int, options: str = f"?message_bytes_max={BYTES_MAX}") -> Open:
    """Groups are declared when the topic is made; opened again, it is another connection."""

    @asynccontextmanager
    async def open_topic(topic: str) -> AsyncIterator[Opened]:
        async with AsyncExitStack() as stack:
            url = running[0].url() + options
            place = await open_place(url)
            stack.push_async_callback(place.close)
            await place.create(topic, groups=GROUPS, lanes=lanes)
            stack.push_async_callback(place.drop, topic)
            opened = Opened(await place.queue(topic))

            async def reopen() -> Queue:
                await opened.queue.close()
                other = await open_place(url)
                stack.push_async_callback(other.close)
                opened.queue = await other.queue(topic)
                return opened.queue

            opened.reopen = reopen
            yield opened

    return open_topic


@asynccontextmanager
async def primary(topic: str) -> AsyncIterator[Opened]:
    """Before a standby that nobody needs."""
    async with with_lanes(1)(topic) as opened:
        standby = MemoryQueue(topic, message_bytes_max=BYTES_MAX)
        queue = Failover(primary=opened.queue, standby=standby, append_ms_max=10_000)
        yield Opened(queue)
        await queue.close()


@asynccontextmanager
async def spooled(topic: str) -> AsyncIterator[Opened]:
    """Behind the embedded log."""
    with tempfile.TemporaryDirectory(dir=memory_disk()) as directory:
        async with with_lanes(1, "")(topic) as opened:
            log = await open_log(directory, segment_bytes=16 << 20)
            queue = Spooled(local=await log.queue(topic), remote=opened.queue)
            await queue.start()
            yield Opened(queue)
            await queue.close()
            await log.close()


FAILOVER = Failover(primary=MemoryQueue("t"), standby=MemoryQueue("t")).traits
SPOOLED = replace(TRAITS, message_bytes_max=(6 << 20) - 64, batch_count_max=65_536)
SUBJECTS = [
    Subject("rabbitmq", with_lanes(1), TRAITS, reopens=True, makes_groups=False, counts_fetched=True),
    Subject("rabbitmq-lanes", with_lanes(3), replace(TRAITS, lanes=3), makes_groups=False, counts_fetched=True),
    Subject("rabbitmq-primary", primary, TRAITS & FAILOVER, makes_groups=False, counts_fetched=True),
    Subject("spooled-rabbitmq", spooled, SPOOLED, makes_groups=False, counts_fetched=True),
]


# What one lane showed is not shown again, where the number of lanes makes no difference.
ONE_LANE = tuple(f"rabbitmq-lanes-{chapter}" for chapter in ("append-", "content-", "ack-", "groups-", "delay-"))
CASES = [case for case in cases(SUBJECTS) if not str(case).startswith(ONE_LANE)]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_conformance(case: Case, rabbitmq_server: RabbitMQ) -> None:
    running[:] = [rabbitmq_server]
    await case.run()
