"""What an append costs while no broker can be reached."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from evermq.adapters.kafka.queue import KafkaQueue
from evermq.adapters.kafka.sender import Sender
from evermq.adapters.kafka.settings import Settings
from evermq.adapters.kafka.topic import Topic
from evermq.clock import SYSTEM, SystemClock
from evermq.errors import Unavailable, Uncertain
from evermq.message import MessageFactory

make = MessageFactory()


class Brokers:
    """In place of the driver's client: none of them can be reached, from the first request on where `breaks`."""

    cluster = SimpleNamespace(
        leader_for_partition=lambda partition: 0, partitions_for_topic=lambda topic: [0], unauthorized_topics=set()
    )

    def __init__(self, *, breaks: bool = False) -> None:
        self.breaks = breaks
        self.is_broken = asyncio.Event()

    async def ready(self, node: int, *, group: int = 0) -> bool:
        return self.breaks and not self.is_broken.is_set()

    async def send(self, node: int, request: Any, *, group: int = 0) -> Any:
        self.is_broken.set()
        raise KafkaConnectionError("the broker is gone")

    async def force_metadata_update(self) -> bool:
        return False


class Clock(SystemClock):
    """Counts the pauses."""

    pauses = 0

    async def sleep(self, ms: float) -> None:
        self.pauses += 1
        await super().sleep(ms)


async def queue_over(brokers: Brokers, clock: SystemClock) -> KafkaQueue:
    sender = Sender(Settings(bootstrap="h:1", send_ms_max=1_000), clock)
    await sender.client.close()
    sender.client = brokers
    sender._identity = 1, 0
    place: Any = SimpleNamespace(sender=sender, check=lambda: None, clock=SYSTEM, compression=0)
    return KafkaQueue(place, Topic("orders", "1", 1, 1, {}))


async def test_only_the_first_of_them_pauses_before_it_asks_again() -> None:
    clock = Clock()
    queue = await queue_over(Brokers(), clock)
    pauses = []
    for _ in range(3):
        with pytest.raises(Unavailable, match="no broker can be reached"):
            await queue.append([make(b"x", key="k")])
        pauses.append(clock.pauses)
    assert pauses == [1, 1, 1]


async def test_what_waits_behind_a_batch_that_may_have_landed_is_told_at_once() -> None:
    brokers = Brokers(breaks=True)
    queue = await queue_over(brokers, SystemClock())
    perhaps = asyncio.create_task(queue.append([make(b"perhaps", key="k")]))
    await brokers.is_broken.wait()
    with pytest.raises(Unavailable, match="no broker can be reached"):
        await queue.append([make(b"behind it", key="k")])
    assert not perhaps.done()
    with pytest.raises(Uncertain):
        await perhaps
