"""A topic that gets more partitions while it is in use: on a real Kafka."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from evermq.adapters.address import parse
from evermq.adapters.kafka.place import KafkaPlace
from evermq.adapters.open import open_place
from evermq.drills.engines.engine import Engine
from evermq.errors import Misconfigured, Unavailable
from evermq.message import MessageFactory
from evermq.port import Delivery, Queue

make = MessageFactory()
BEFORE, AFTER = 3, 6
KEYS = [f"k{number}".encode() for number in range(40)]


@pytest.fixture
async def place(kafka_server: Engine, topic: str) -> AsyncIterator[KafkaPlace]:
    """With a topic, and looking for changes of it more often than by itself."""
    found = await open_place(f"{kafka_server.url()}?topic.metadata.refresh.interval.ms=500")
    assert isinstance(found, KafkaPlace)
    await found.create(topic, groups=["g"], lanes=BEFORE)
    yield found
    await found.close()


async def grow(server: Engine, topic: str) -> None:
    """As `kafka-topics --alter --partitions`."""
    admin = AdminClient({"bootstrap.servers": parse(server.url("x")).place})
    for future in admin.create_partitions([NewPartitions(topic, AFTER)]).values():
        await asyncio.wrap_future(future)


def produce(server: Engine, topic: str) -> None:
    """One record of a foreign client into each new partition."""
    producer = Producer({"bootstrap.servers": parse(server.url("x")).place, "topic.metadata.refresh.interval.ms": 500})
    for partition in range(BEFORE, AFTER):
        producer.produce(topic, b"in %d" % partition, partition=partition)
    assert producer.flush(20) == 0


async def read(queue: Queue, count: int) -> list[Delivery]:
    reader = await queue.reader("g")
    found: list[Delivery] = []
    async with asyncio.timeout(60):
        while len(found) < count:
            some = await reader.read(count_max=100, wait_ms=1_000)
            await reader.ack(some)
            found += some
    await reader.close()
    return found


async def test_partitions_that_are_added_are_counted_and_read_by_readers_that_are_open(
    place: KafkaPlace, kafka_server: Engine, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = await place.queue(topic)
    await queue.append([make("before", key=key) for key in KEYS])
    reading = asyncio.create_task(read(queue, len(KEYS) + AFTER - BEFORE))
    while await queue.backlog("g"):
        await asyncio.sleep(0.1)
    with caplog.at_level(logging.WARNING, "evermq.kafka"):
        await grow(kafka_server, topic)
        await asyncio.to_thread(produce, kafka_server, topic)
        found = await reading
    assert {each.position.lane: each.message.body for each in found[len(KEYS) :]} == {
        str(lane): b"in %d" % lane for lane in range(BEFORE, AFTER)
    }
    assert await queue.backlog("g") == 0
    assert caplog.text.count(f"{topic} has {AFTER} partitions by now, and had {BEFORE}") == 1


async def test_partitions_that_are_added_count_in_the_backlog_and_are_read_after_the_queue_was_opened(
    place: KafkaPlace, kafka_server: Engine, topic: str
) -> None:
    queue = await place.queue(topic)
    with pytest.raises(Misconfigured, match=f"lanes 0 to {BEFORE - 1}"):
        await queue.backlog("g", "5")
    await grow(kafka_server, topic)
    await asyncio.to_thread(produce, kafka_server, topic)
    assert await queue.backlog("g") == AFTER - BEFORE
    assert await queue.backlog("g", "5") == 1
    assert await queue.backlog("nobody") == AFTER - BEFORE
    assert {each.position.lane for each in await read(queue, AFTER - BEFORE)} == {"3", "4", "5"}
    assert await queue.backlog("g") == 0


async def test_queue_that_is_open_goes_on_in_the_lanes_that_it_had_and_the_next_one_takes_all(
    place: KafkaPlace, kafka_server: Engine, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = await place.queue(topic)
    before = [each.lane for each in await queue.append([make("x", key=key) for key in KEYS])]
    assert await queue.end("1") == before.count("1")
    await grow(kafka_server, topic)
    after = [each.lane for each in await queue.append([make("x", key=key) for key in KEYS])]
    assert after == before
    assert queue.traits.lanes == BEFORE
    with pytest.raises(Unavailable, match="partitions"):  # others may have put a message elsewhere by its key
        await queue.end("1")
    again = await place.queue(topic)
    assert {each.lane for each in await again.append([make("x", key=key) for key in KEYS])} - set(before)
    assert again.traits.lanes == AFTER


async def test_topic_that_has_not_the_lanes_that_the_url_says_is_told_when_it_is_opened(
    place: KafkaPlace, kafka_server: Engine, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = await open_place(f"{kafka_server.url()}?lanes={AFTER}")
    with caplog.at_level(logging.WARNING, "evermq.kafka"):
        assert (await other.queue(topic)).traits.lanes == BEFORE
    await other.close()
    assert f"topic {topic} has {BEFORE} lanes, not {AFTER}" in caplog.text
