"""RabbitMQ's groups that go away, on a real server."""

from __future__ import annotations

import asyncio

import pytest

from evermq.adapters.open import open_place
from evermq.adapters.rabbitmq.place import RabbitPlace
from evermq.drills.engines.rabbitmq import RabbitMQ
from evermq.errors import NoSuchTopic, Rejected
from evermq.message import MessageFactory

message = MessageFactory()


async def test_group_that_nobody_reads_is_dropped_with_its_queues_and_can_be_made_anew(
    rabbitmq_server: RabbitMQ, topic: str
) -> None:
    place = await open_place(rabbitmq_server.url())
    assert isinstance(place, RabbitPlace)
    await place.create(topic, groups=["a", "b"], lanes=2)
    queue = await place.queue(topic)
    await queue.append([message("old", key=f"k{number}") for number in range(8)])
    other = await open_place(rabbitmq_server.url())
    reader = await (await other.queue(topic)).reader("a")
    assert await reader.read(count_max=1, wait_ms=10_000)
    with pytest.raises(Rejected, match="has readers: close them"):
        await place.drop_group(topic, "a")
    await reader.close()
    await other.close()
    async with asyncio.timeout(60):  # the server takes its time to notice that a reader went
        while await queue.backlog("a") < 8:
            await asyncio.sleep(0.05)
        while True:
            try:
                await place.drop_group(topic, "a")
                break
            except Rejected:
                await asyncio.sleep(0.05)
    left = await asyncio.to_thread(rabbitmq_server.ask, "/api/queues/%2F")
    assert {each["name"] for each in left if topic in each["name"]} == {f"{topic}:b:{x}" for x in ("0", "1", "readers")}
    assert set((await place.describe(topic)).groups) == {"b"}
    for name in ("a", "nobody"):
        with pytest.raises(NoSuchTopic, match=f"no group {name}"):
            await place.drop_group(topic, name)
    await queue.append([message("new")])
    assert await queue.backlog("b") == 9
    await place.create(topic, groups=["a"])
    await queue.append([message("newer")])
    assert await queue.backlog("a") == 1
    await place.drop(topic)
    await place.close()
