"""Where messages without a key go while one broker is silent."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from evermq.adapters.kafka import sender as sending
from evermq.adapters.kafka.queue import KafkaQueue
from evermq.adapters.kafka.sender import Sender
from evermq.adapters.kafka.settings import Settings
from evermq.adapters.kafka.topic import Topic
from evermq.clock import SYSTEM
from evermq.errors import Unavailable
from evermq.message import MessageFactory

make = MessageFactory()
LANES = 4


class Brokers:
    """As the driver's client sees them: each leads the lane of its number; one that is silent is waited for."""

    def __init__(self) -> None:
        self.answers = [asyncio.Event() for _ in range(LANES)]
        for answer in self.answers:
            answer.set()
        self.cluster = SimpleNamespace(
            leader_for_partition=lambda partition: partition.partition,
            partitions_for_topic=lambda topic: range(LANES),
            unauthorized_topics=(),
        )

    async def ready(self, node: int, *, group: int = 0) -> bool:
        await self.answers[node].wait()
        return True

    async def send(self, node: int, request: Any, *, group: int = 0) -> Any:
        return SimpleNamespace(topics=[("orders", [(node, 0, 7)])])

    async def force_metadata_update(self) -> bool:
        return True


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    monkeypatch.setattr(sending, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(sending, "_TRY_S", 0.0)
    return Brokers()


async def queue_over(brokers: Brokers) -> KafkaQueue:
    sender = Sender(Settings(bootstrap="h:1", send_ms_max=200))
    await sender.client.close()
    sender.client = brokers
    sender._identity = 1, 0
    place: Any = SimpleNamespace(sender=sender, check=lambda: None, clock=SYSTEM, compression=0)
    return KafkaQueue(place, Topic("orders", "1", LANES, 1, {}))


async def lanes_of(queue: KafkaQueue, count: int) -> list[str]:
    """Where so many appends of a message without a key went; `none` for what was not taken."""
    found = []
    for _ in range(count):
        try:
            found.append((await queue.append([make(b"x")]))[0].lane)
        except Unavailable:
            found.append("none")
    return found


async def test_messages_without_a_key_pass_over_a_lane_that_is_silent_and_find_it_again(brokers: Brokers) -> None:
    queue = await queue_over(brokers)
    assert sorted(await lanes_of(queue, LANES)) == ["0", "1", "2", "3"]
    brokers.answers[1].clear()
    found = await lanes_of(queue, 10 * LANES)
    assert found.count("none") == 1  # the first one, by which it was seen
    assert set(found) == {"0", "2", "3", "none"}
    brokers.answers[1].set()
    async with asyncio.timeout(30):
        while "1" not in await lanes_of(queue, LANES):
            pass
    assert sorted(await lanes_of(queue, LANES)) == ["0", "1", "2", "3"]
    await queue.close()


async def test_where_every_lane_is_silent_the_turn_goes_on(brokers: Brokers) -> None:
    queue = await queue_over(brokers)
    for answer in brokers.answers:
        answer.clear()
    assert set(await lanes_of(queue, LANES)) == {"none"}
    turns = [queue._next_turn() for _ in range(LANES)]
    assert sorted(turns) == [0, 1, 2, 3]
    for answer in brokers.answers:
        answer.set()
    await queue.close()
