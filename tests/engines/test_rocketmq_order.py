"""Order per key over a RocketMQ, which hands the messages of a lane to whichever reader asks first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from evermq.compose.build import build, create, urls_of
from evermq.compose.config import parse
from evermq.drills.engines.rocketmq import RocketMQ
from evermq.message import MessageFactory
from evermq.policy.ordered import Ordered
from evermq.policy.ordered_reader import OrderedReader
from evermq.port import Delivery

pytestmark = pytest.mark.timeout(300)
make = MessageFactory()
KEYS, EACH = 8, 40
PART = 100
CONFIG = """
[topics.{topic}]
use = "failover"
groups = ["billing"]
primary = "{url}"
standby = "memory://{topic}/standby"
last = "log://{directory}/last/{topic}"
order = "key"
progress = "log://{directory}"
"""


@asynccontextmanager
async def opened(server: RocketMQ, topic: str, directory: Path) -> AsyncIterator[Ordered]:
    """As a process opens it."""
    text = CONFIG.format(topic=topic, directory=directory, url=f"{server.url(topic)}&lease_ms=5000")
    config = parse(text, "evermq.toml")[topic]
    await create(urls_of(config.root), config.groups, 4)
    queue = await build(config)
    assert isinstance(queue, Ordered)
    try:
        yield queue
    finally:
        await queue.close()


class Group:
    """Readers of one group, and what each was handed. The first that has a part of it is closed then."""

    def __init__(self, readers: list[OrderedReader]) -> None:
        self.readers = readers
        self.handled: list[list[Delivery]] = [[] for _ in readers]
        self.first: int | None = None

    @property
    def is_through(self) -> bool:
        return len({each.message.id for found in self.handled for each in found}) == KEYS * EACH

    async def read(self, at: int) -> None:
        reader = self.readers[at]
        while not self.is_through:
            found = await reader.read(count_max=20, wait_ms=500)
            self.handled[at] += found
            await reader.ack(found)
            if self.first is None and len(self.handled[at]) > PART:
                self.first = at
                await reader.close()
                return


async def test_one_of_several_readers_reads_and_the_next_goes_on_when_it_is_closed(
    rocketmq_server: RocketMQ, topic: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        queues = [await stack.enter_async_context(opened(rocketmq_server, topic, tmp_path)) for _ in range(3)]
        for number in range(EACH):
            await queues[0].append([make(f"{number}", key=f"k{key}") for key in range(KEYS)])
        group = Group([await queue.reader("billing") for queue in queues])
        await asyncio.gather(*(group.read(at) for at in range(3)))
    handled, first = group.handled, group.first
    assert first is not None
    assert sum(map(bool, handled)) == 2, "a third one has read"
    every = [each for found in (handled[first], *handled[:first], *handled[first + 1 :]) for each in found]
    for key in {each.message.key for each in every}:
        bodies = [int(each.message.body) for each in every if each.message.key == key]
        assert list(dict.fromkeys(bodies)) == list(range(EACH))
