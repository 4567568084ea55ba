"""Redis as the standby of a ladder: full, flushed, weak, of another width; what it cannot take goes a rung further."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis as Client

from evermq.adapters.memory import MemoryQueue
from evermq.adapters.open import open_place, open_queue
from evermq.adapters.redis.place import RedisPlace
from evermq.compose.build import open as open_topic
from evermq.compose.host import host_rung
from evermq.drills.engines.redis import Redis
from evermq.errors import Misconfigured
from evermq.ha.failover import Choice, Failover
from evermq.message import Message, MessageFactory
from evermq.testing.faulty import Faulty

pytestmark = pytest.mark.timeout(120)
message = MessageFactory()


@asynccontextmanager
async def placed(server: Redis, topic: str, lanes: int = 4) -> AsyncIterator[RedisPlace]:
    place = await open_place(server.url())
    assert isinstance(place, RedisPlace)
    try:
        await place.create(topic, groups=["g"], lanes=lanes)
        yield place
    finally:
        await place.close()


@asynccontextmanager
async def outage(server: Redis, topic: str, directory: Path, options: str = "") -> AsyncIterator[Failover]:
    """A ladder whose primary is down: the Redis is its standby, a log of this host its last rung."""
    primary = Faulty(MemoryQueue(topic, lanes=4))
    primary.down()
    standby = await open_queue(server.url(topic) + options)
    last = host_rung(f"log://{directory}/last/{topic}")
    queue = Failover(primary=primary, standby=standby, last=last, choice=Choice(1), append_ms_max=2_000)
    try:
        yield queue
    finally:
        await queue.close()


async def append(queue: Failover, messages: Sequence[Message]) -> set[str]:
    """Returns the rungs that took it."""
    return {position.via[0] for position in await queue.append(messages)}


async def read(queue: Failover, wanted: Sequence[Message]) -> list[str]:
    """What the standby and whatever comes up from the host gives, until all that is wanted came."""
    reader = await queue.children["standby"].reader("g")
    found: list[str] = []
    async with asyncio.timeout(60):
        while not {each.id for each in wanted} <= set(found):
            deliveries = await reader.read(count_max=500, wait_ms=500)
            found += [delivery.message.id for delivery in deliveries]
            await reader.ack(deliveries)
    return found


async def test_what_a_full_standby_refuses_goes_to_the_host_and_comes_up_when_there_is_room(
    redis_server: Redis, topic: str, tmp_path: Path
) -> None:
    async with placed(redis_server, topic), outage(redis_server, topic, tmp_path, "?lane_count_max=50") as queue:
        sent: list[Message] = []
        went: list[set[str]] = []
        for _ in range(10):
            batch = [message("x", key="k") for _ in range(20)]
            went.append(await append(queue, batch))
            sent += batch
        assert went[0] == {"standby"}
        assert went[-1] == {"last"}
        found = await read(queue, sent)
        assert sorted(found) == sorted(each.id for each in sent)


async def test_standby_without_memory_passes_on_too(redis_server: Redis, topic: str, tmp_path: Path) -> None:
    async with placed(redis_server, topic), outage(redis_server, topic, tmp_path) as queue:
        first, second = [message("x")], [message("y" * 1_000)]
        assert await append(queue, first) == {"standby"}
        async with Client(port=redis_server.port) as client:
            await client.config_set("maxmemory", "1mb")
            try:
                assert await append(queue, second) == {"last"}
            finally:
                await client.config_set("maxmemory", "0")
        assert set(await read(queue, [*first, *second])) == {first[0].id, second[0].id}


async def test_lanes_of_the_standby_change_in_an_outage_with_a_backlog(
    redis_server: Redis, topic: str, tmp_path: Path
) -> None:
    async with placed(redis_server, topic, 100) as place, outage(redis_server, topic, tmp_path) as queue:
        sent: list[Message] = []
        for lanes in (130, 90, 90):
            batch = [message("x", key=f"k{k}") for _ in range(5) for k in range(20)]
            assert await append(queue, batch) == {"standby"}
            sent += batch
            await place.change_lanes(topic, lanes)
        found = await read(queue, sent)
        assert len(found) == len(sent)
        for k in range(20):
            mine = [each.id for each in sent if each.key == f"k{k}".encode()]
            assert [each for each in found if each in set(mine)] == mine


async def test_flushed_standby_passes_on(redis_server: Redis, topic: str, tmp_path: Path) -> None:
    async with placed(redis_server, topic) as place, outage(redis_server, topic, tmp_path) as queue:
        assert await append(queue, [message("gone with the server's memory")]) == {"standby"}
        async with Client(port=redis_server.port) as client:
            await client.flushall()
        kept = [message("kept by the host")]
        assert await append(queue, kept) == {"last"}
        await place.create(topic, groups=["g"], lanes=4)
        assert await read(queue, kept) == [kept[0].id]


@pytest.mark.parametrize(
    ("settings", "require", "reason"),
    [
        ({"maxmemory-policy": "allkeys-lru"}, "", "maxmemory-policy = allkeys-lru throws messages away"),
        ({"appendfsync": "everysec"}, 'require = "disk"\n', "requires disk, .* standby keeps process$"),
    ],
)
async def test_standby_that_keeps_too_little_is_refused_with_the_reason(
    redis_server: Redis, topic: str, tmp_path: Path, settings: dict[str, str], require: str, reason: str
) -> None:
    config = tmp_path / "evermq.toml"
    config.write_text(
        f'[topics.{topic}]\nuse = "failover"\n{require}primary = "log://{tmp_path}/log/{topic}"\n'
        f'standby = "{redis_server.url(topic)}"\n'
    )
    async with placed(redis_server, topic), Client(port=redis_server.port, decode_responses=True) as client:
        before = {name: str((await client.config_get(name))[name]) for name in settings}
        try:
            for name, value in settings.items():
                await client.config_set(name, value)
            with pytest.raises(Misconfigured, match=reason):
                await open_topic(topic, config)
        finally:
            for name, value in before.items():
                await client.config_set(name, value)
