"""A Redis whose clock is set back by an hour, or a fail-over to one whose clock is behind: to its scripts that is the
same as times in its data that lie ahead."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis as Client

from evermq.adapters.open import open_place
from evermq.drills.engines.redis import Redis
from evermq.message import MessageFactory
from evermq.port import Delivery, DropsGroups, Place, Queue, Reader

STEP_MS = 3_600_000
message = MessageFactory()


@pytest.fixture
async def place(redis_server: Redis) -> AsyncIterator[Place]:
    found = await open_place(f"{redis_server.url()}?lease_ms=500")
    yield found
    await found.close()


async def filled(place: Place, topic: str, lanes: int) -> Queue:
    await place.create(topic, groups=["g"], lanes=lanes)
    queue = await place.queue(topic)
    await queue.append([message(str(number), key=str(number)) for number in range(40)])
    return queue


async def set_back(server: Redis, topic: str) -> None:
    """What was written of leases and readers is now an hour ahead."""
    async with Client(port=server.port, decode_responses=True) as client:
        async for key in client.scan_iter(f"evermq:{{{topic}.*}}:state"):
            if till := await client.hget(key, "until:g"):
                await client.hset(key, "until:g", str(int(till) + STEP_MS))
        readers = f"evermq:{{{topic}}}:readers:g"
        for token in await client.zrange(readers, 0, -1):
            await client.zincrby(readers, STEP_MS, str(token))


async def read_all(reader: Reader) -> list[Delivery]:
    found: list[Delivery] = []
    while some := await reader.read(count_max=100, wait_ms=2_000):
        await reader.ack(some)
        found += some
    return found


def killed(reader: Reader) -> None:
    """It says nothing any more."""
    reader._leases._keeper.cancel()  # type: ignore[attr-defined]


async def test_lease_of_a_dead_reader_ends_though_the_clock_was_set_back(
    place: Place, topic: str, redis_server: Redis
) -> None:
    queue = await filled(place, topic, 4)
    dead = await queue.reader("g")
    held = await dead.read(count_max=40, wait_ms=2_000)
    assert held
    killed(dead)
    await set_back(redis_server, topic)
    found = await read_all(await queue.reader("g"))
    assert len({each.message.id for each in found}) == 40


async def test_dead_readers_of_a_time_ahead_take_no_share(place: Place, topic: str, redis_server: Redis) -> None:
    queue = await filled(place, topic, 2)
    for _ in range(3):
        killed(await queue.reader("g"))
        dead = await queue.reader("g")
        await dead.read(count_max=1, wait_ms=50)
        killed(dead)
    await set_back(redis_server, topic)
    reader = await queue.reader("g")
    ready = await reader.read(count_max=1, wait_ms=2_000)
    assert ready
    assert reader._leases._share == 2  # type: ignore[attr-defined]


async def test_group_of_dead_readers_can_be_dropped(place: Place, topic: str, redis_server: Redis) -> None:
    queue = await filled(place, topic, 1)
    dead = await queue.reader("g")
    assert await dead.read(count_max=40, wait_ms=2_000)
    killed(dead)
    await set_back(redis_server, topic)
    assert isinstance(place, DropsGroups)
    await place.drop_group(topic, "g")
    assert not (await place.describe(topic)).groups
