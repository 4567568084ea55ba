"""Kafka, RabbitMQ, Redis and the host's log as one ladder: the first two go one after the other, and come back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from evermq.compose.build import build, create, urls_of
from evermq.compose.config import parse
from evermq.drills.engines.engine import Engine
from evermq.drills.faults.outages import of_engine
from evermq.errors import EvermqError
from evermq.message import MessageFactory
from evermq.policy.ordered import Ordered
from evermq.port import Delivery

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
make = MessageFactory()
KEYS = 7
ENOUGH = 60  # messages by way of a rung that is where appends begin
CONFIG = """
[topics.{topic}]
use = "failover"
groups = ["billing"]
primary = "{kafka}"
standby = "{rabbitmq}?timeout_ms=2000"
standby2 = "{redis}"
last = "log://{directory}/last/{topic}"
order = "key"
dedupe = "producer"
progress = "log://{directory}"

[topics.{topic}.switch]
dwell_ms = 500
good = 2
good_ms = 300
returning_ms = 300
probe_ms = 200
trickle = 20
"""


@asynccontextmanager
async def ladder(kafka: Engine, rabbitmq: Engine, redis: Engine, topic: str, directory: Path) -> AsyncIterator[Ordered]:
    urls = {"kafka": kafka.url(topic), "rabbitmq": rabbitmq.url(topic), "redis": redis.url(topic)}
    config = parse(CONFIG.format(topic=topic, directory=directory, **urls), "evermq.toml")[topic]
    assert await create(urls_of(config.root), config.groups, 4) == []
    queue = await build(config)
    assert isinstance(queue, Ordered)
    try:
        yield queue
    finally:
        await queue.close()


class Traffic:
    """Numbers by key, sent and handled all the time. went: how many by way of each rung since it was emptied last."""

    def __init__(self, queue: Ordered) -> None:
        self.went: Counter[str] = Counter()
        self.sent = 0
        self.handled: list[Delivery] = []
        self._queue = queue
        self._ends = asyncio.Event()

    async def send(self) -> None:
        """Until `end`. A send that fails is an error of the test: the host takes what the others do not."""
        numbers = count()
        while not self._ends.is_set():
            batch = [make(f"{number}", key=f"k{number % KEYS}") for number in (next(numbers) for _ in range(KEYS))]
            positions = await self._queue.append(batch)
            self.sent += len(batch)
            self.went.update(position.via[0] for position in positions)
            await asyncio.sleep(0.02)

    async def handle(self) -> None:
        """Until all is handled that was sent before `end`."""
        reader = await self._queue.reader("billing")
        owed: list[Delivery] = []
        while not (self._ends.is_set() and len(self.handled) >= self.sent and not owed):
            try:
                found = await reader.read(count_max=100, wait_ms=200)
                self.handled += found
                owed += found
                await reader.ack(owed)
                owed.clear()
            except EvermqError:  # of a rung that is away: what could not be acknowledged is acknowledged again
                await asyncio.sleep(0.1)

    async def until_at(self, rung: str) -> None:
        """Appends begin there, and enough went by."""
        self.went.clear()
        while self.went[rung] < ENOUGH or self.went.most_common(1)[0][0] != rung:
            await asyncio.sleep(0.1)

    def end(self) -> None:
        """Send no more."""
        self._ends.set()


async def test_four_rungs_lose_and_double_nothing_and_keep_order_while_two_of_them_go_and_come_back(
    kafka_server: Engine, rabbitmq_server: Engine, redis_server: Engine, topic: str, tmp_path: Path
) -> None:
    kafka, rabbitmq = of_engine(kafka_server, "kill"), of_engine(rabbitmq_server, "kill")
    async with ladder(kafka_server, rabbitmq_server, redis_server, topic, tmp_path) as queue:
        traffic = Traffic(queue)
        async with asyncio.timeout(240), asyncio.TaskGroup() as tasks:
            tasks.create_task(traffic.send())
            tasks.create_task(traffic.handle())
            await traffic.until_at("primary")
            await asyncio.sleep(2)  # queues of RabbitMQ that are younger than that may not survive a kill
            await kafka.begin()
            await traffic.until_at("standby")
            await rabbitmq.begin()
            await traffic.until_at("standby2")
            await asyncio.gather(kafka.heal(), rabbitmq.heal())
            await traffic.until_at("primary")
            traffic.end()
        handled = [int(each.message.body) for each in traffic.handled]
        assert Counter(handled) == Counter(range(traffic.sent))
        for key in range(KEYS):
            mine = [number for number in handled if number % KEYS == key]
            assert mine == sorted(mine)
        assert {each.position.via[0] for each in traffic.handled} >= {"primary", "standby", "standby2"}
