"""A host whose clock is wrong by hours: brokers refuse its time, not its messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.engines.test_kafka_headers import raw

from evermq.adapters.kafka import batch
from evermq.adapters.kafka.place import KafkaPlace
from evermq.adapters.open import open_place
from evermq.clock import SYSTEM, SystemClock
from evermq.drills.engines.engine import Engine
from evermq.errors import Unavailable
from evermq.message import MessageFactory
from evermq.port import Delivery, Queue

AHEAD_MS = 2 * 3_600_000  # message.timestamp.after.max.ms is an hour


class Ahead(SystemClock):
    def now_ms(self) -> int:
        return super().now_ms() + AHEAD_MS


make, ahead = MessageFactory(), MessageFactory(clock=Ahead())


@pytest.fixture
async def place(kafka_server: Engine) -> AsyncIterator[KafkaPlace]:
    """Of the host whose clock is ahead."""
    found = await open_place(kafka_server.url())
    assert isinstance(found, KafkaPlace)
    found.clock = Ahead()
    yield found
    await found.close()


async def read(queue: Queue, group: str, count: int) -> list[Delivery]:
    reader = await queue.reader(group)
    found: list[Delivery] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            found += await reader.read(count_max=100, wait_ms=1_000)
    await reader.ack(found)
    await reader.close()
    return found


async def test_host_whose_clock_is_hours_ahead_appends_in_order_without_a_time_of_its_own(
    place: KafkaPlace, kafka_server: Engine, topic: str
) -> None:
    await place.create(topic, lanes=1)
    queue = await place.queue(topic)
    batches = [[ahead(b"0", key="k"), ahead(b"1", key="k", headers={"a": "b"})], [ahead(b"2", key="k")], [make(b"3")]]
    for positions in await asyncio.gather(*map(queue.append, batches)):
        assert {position.lane for position in positions} == {"0"}
    sent = [message for batch in batches for message in batch]
    assert [delivery.message for delivery in await read(queue, f"g-{topic}", 4)] == sent
    records = await asyncio.to_thread(raw, kafka_server, topic, 4)
    assert {each.timestamp()[1] for each in records} == {-1}
    state = await place.describe(topic)
    assert state.groups[f"g-{topic}"].backlog == 0


async def test_age_of_what_has_no_time_is_not_known(place: KafkaPlace, topic: str) -> None:
    await place.create(topic, groups=[f"g-{topic}"], lanes=1)
    queue = await place.queue(topic)
    await queue.append([ahead(b"0", key="k")])
    state = (await place.describe(topic)).groups[f"g-{topic}"]
    assert (state.backlog, state.oldest_ms) == (1, None)


async def test_time_that_is_refused_all_the_same_is_no_fault_of_the_message(
    place: KafkaPlace, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "NO_TIME_MS", SYSTEM.now_ms() + AHEAD_MS // 4 * 3)
    await place.create(topic, lanes=1)
    with pytest.raises(Unavailable, match="timestamp"):
        await (await place.queue(topic)).append([ahead(b"0", key="k")])
