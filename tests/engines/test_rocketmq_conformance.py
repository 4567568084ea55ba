"""The conformance suite over a real RocketMQ: topics that are normal, delayed and FIFO, and composites over it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from tests.needed import memory_disk

from evermq.adapters.memory import MemoryQueue
from evermq.adapters.open import open_log, open_place
from evermq.adapters.rocketmq.queue import BATCH_COUNT_MAX, DELAY_MS_MAX
from evermq.drills.engines.rocketmq import RocketMQ
from evermq.ha.failover import Failover
from evermq.ha.spooled import Spooled
from evermq.port import Queue
from evermq.testing.conformance import GROUPS, Case, Open, Opened, Subject, cases
from evermq.traits import Ack, Durable, Groups, Order, Traits

BYTES_MAX = (4 << 20) - (64 << 10)
TRAITS = Traits(
    order=Order.NONE,
    ack=Ack.SINGLE,
    durable=Durable.DISK,
    groups=Groups.MANY,
    lanes=2,
    replay=False,
    delay_ms_max=0,
    message_bytes_max=BYTES_MAX,
    batch_count_max=BATCH_COUNT_MAX,
)
OPTIONS = "&lease_ms=4000&poll_ms=200"
running: list[RocketMQ] = []


def of_kind(kind: str, lanes: int = 2) -> Open:
    """Groups are declared when the topic is made; opened again, it is another client."""

    @asynccontextmanager
    async def open_topic(topic: str) -> AsyncIterator[Opened]:
        async with AsyncExitStack() as stack:
            url = f"{running[0].url()}{OPTIONS}&kind={kind}"
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
    async with of_kind("normal")(topic) as opened:
        standby = MemoryQueue(topic, message_bytes_max=BYTES_MAX)
        queue = Failover(primary=opened.queue, standby=standby, append_ms_max=10_000)
        yield Opened(queue)
        await queue.close()


@asynccontextmanager
async def spooled(topic: str) -> AsyncIterator[Opened]:
    """Behind the embedded log."""
    with tempfile.TemporaryDirectory(dir=memory_disk()) as directory:
        async with of_kind("normal")(topic) as opened:
            log = await open_log(directory, segment_bytes=16 << 20)
            queue = Spooled(local=await log.queue(topic), remote=opened.queue)
            await queue.start()
            yield Opened(queue)
            await queue.close()
            await log.close()


FAILOVER = Failover(primary=MemoryQueue("t"), standby=MemoryQueue("t")).traits
SPOOLED = replace(TRAITS, message_bytes_max=BYTES_MAX - 64, batch_count_max=65_536)
DELAYED = replace(TRAITS, delay_ms_max=DELAY_MS_MAX)
ORDERED = replace(TRAITS, order=Order.KEY, ack=Ack.PREFIX, lanes=1)
SUBJECTS = [
    Subject("rocketmq", of_kind("normal"), TRAITS, makes_groups=False, counts_fetched=True),
    Subject("rocketmq-delay", of_kind("delay"), DELAYED, reopens=True, makes_groups=False, counts_fetched=True),
    Subject(
        "rocketmq-fifo", of_kind("fifo", 1), ORDERED, reopens=True, makes_groups=False, counts_fetched=True, held_max=32
    ),
    Subject("rocketmq-primary", primary, TRAITS & FAILOVER, makes_groups=False, counts_fetched=True),
    Subject("spooled-rocketmq", spooled, SPOOLED, makes_groups=False, counts_fetched=True),
]
# A topic that delays shows all that a normal one does; of composites, what the engine below makes a difference to.
BRIEF = ("append-traits", "append-largest", "ack-", "release-", "close-")


def is_run(name: str) -> bool:
    """What is shown once is not shown again."""
    subject = max((each.name for each in SUBJECTS if name.startswith(f"{each.name}-")), key=len)
    rest = name.removeprefix(f"{subject}-")
    if subject == "rocketmq":
        return rest.startswith(("append-traits", "append-message", "append-long", "delay-", "content-many"))
    if subject == "rocketmq-fifo":
        return rest.startswith((*BRIEF, "backlog-", "order-", "read-", "reopen-"))
    return subject == "rocketmq-delay" or rest.startswith(BRIEF)


CASES = [case for case in cases(SUBJECTS) if is_run(str(case))]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_conformance(case: Case, rocketmq_server: RocketMQ) -> None:
    running[:] = [rocketmq_server]
    await case.run()
