"""A topic that is made anew, and a log that loses its end, under a reader that goes on: on a real Kafka."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from pathlib import Path
from struct import Struct
from typing import Any

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from evermq.adapters.address import parse
from evermq.adapters.kafka.place import KafkaPlace
from evermq.adapters.kafka.queue import KafkaQueue
from evermq.adapters.open import open_place
from evermq.drills.engines.engine import Engine
from evermq.errors import Closed, Unavailable
from evermq.message import MessageFactory
from evermq.port import Delivery, Reader, Start

make = MessageFactory()
_BATCH = Struct(">qi")  # the head of a batch in a segment: its first offset, and how many bytes follow


@pytest.fixture
async def place(kafka_server: Engine) -> AsyncIterator[KafkaPlace]:
    found = await open_place(f"{kafka_server.url()}?session.timeout.ms=45000")
    assert isinstance(found, KafkaPlace)
    yield found
    await found.close()


async def opened(place: KafkaPlace, topic: str) -> KafkaQueue:
    await place.create(topic, groups=["g"], lanes=1)
    return await place.queue(topic)


async def make_anew(server: Engine, topic: str) -> None:
    """As somebody does with the tools of Kafka, until the new one answers."""
    admin = AdminClient({"bootstrap.servers": parse(server.url("x")).place})
    for future in admin.delete_topics([topic]).values():
        await asyncio.wrap_future(future)
    await until_done(lambda: admin.create_topics([NewTopic(topic, 1, 1)]))
    await until_done(lambda: admin.list_offsets({TopicPartition(topic, 0): OffsetSpec.latest()}))


async def until_done(ask: Callable[[], dict[Any, Future[Any]]]) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                [future] = ask().values()
                await asyncio.wrap_future(future)
                return
            except KafkaException:
                await asyncio.sleep(0.1)


async def read(reader: Reader, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(60):
        while len(found) < count:
            found += await reader.read(count_max=100, wait_ms=1_000)
    return found


async def append(queue: KafkaQueue, bodies: list[bytes]) -> None:
    """Until it is taken: a topic that was just made, or a broker that was just started, may refuse for a while."""
    async with asyncio.timeout(60):
        while True:
            try:
                await queue.append([make(body, key="k") for body in bodies])
                return
            except Unavailable:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("start", [Start.OLDEST, Start.NEWEST])
@pytest.mark.parametrize("count", [5, 60])  # of the old one it has 30: less than there are, or more
async def test_topic_made_anew_under_a_reader_is_read_from_its_oldest_message(
    place: KafkaPlace, kafka_server: Engine, topic: str, count: int, start: Start
) -> None:
    queue = await opened(place, topic)
    before = queue.topic_id
    await append(queue, [b"old"] * 30)
    reader = await queue.reader("g", start=start)
    held = await read(reader, 30)
    await reader.ack(held[:20])
    await make_anew(kafka_server, topic)
    bodies = [b"new %d" % number for number in range(count)]
    await append(queue, bodies)
    with pytest.raises(Closed, match="made anew"):
        await read(reader, 1_000)
    with pytest.raises(Closed):
        await reader.ack(held[20:])
    reader = await queue.reader("g", start=start)
    found = await read(reader, count)
    assert [each.message.body for each in found] == bodies
    await reader.ack(found)
    assert await queue.backlog("g") == 0
    assert queue.topic_id != before


async def test_end_of_a_topic_made_anew_is_not_told_to_who_reads_the_one_before(
    place: KafkaPlace, kafka_server: Engine, topic: str
) -> None:
    """It would prove that messages are nowhere which nobody has read yet."""
    queue = await opened(place, topic)
    await append(queue, [b"old"])
    assert await queue.end("0") == 1
    await make_anew(kafka_server, topic)
    with pytest.raises(Unavailable, match="made anew"):
        await queue.end("0")
    await (await queue.reader("g")).close()
    assert await queue.end("0") == 0


def lose_the_last_batch(log: Path) -> None:
    """As a loss of power leaves it: the batch is there in part."""
    whole, at, last = log.read_bytes(), 0, 0
    while at + _BATCH.size <= len(whole):
        first, length = _BATCH.unpack_from(whole, at)
        if at and not first:
            break  # room that was reserved
        last, at = at, at + _BATCH.size + length
    os.truncate(log, last + 20)


async def test_what_is_left_of_a_log_that_lost_its_end_is_read_and_what_came_since(
    place: KafkaPlace, kafka_server: Engine, topic: str
) -> None:
    queue = await opened(place, topic)
    old = [[b"%d" % number for number in range(first, first + 50)] for first in range(0, 300, 50)]
    for bodies in old:
        await append(queue, bodies)
    reader = await queue.reader("g")
    await reader.ack(await read(reader, 100))
    async with asyncio.timeout(60):
        while await queue.backlog("g") > 200:
            await asyncio.sleep(0.1)
    [node] = kafka_server.nodes.values()
    await asyncio.to_thread(node.kill)
    [log] = kafka_server.directory.glob(f"*/data/{topic}-0/0*.log")
    lose_the_last_batch(log)
    await asyncio.to_thread(node.begin)
    await asyncio.to_thread(node.until_ready)
    new = [b"new %d" % number for number in range(5)]
    await append(queue, new)
    wanted = {body for each in old[2:-1] for body in each} | set(new)
    async with asyncio.timeout(60):
        while wanted:
            try:
                found = await reader.read(count_max=20, wait_ms=1_000)
                await reader.ack(found)
            except Closed:  # it had been handed what the log lost
                reader = await queue.reader("g")
            else:
                wanted.difference_update(each.message.body for each in found)
