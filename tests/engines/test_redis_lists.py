"""A list of a real Redis that holds what its lane did not count."""

from __future__ import annotations

from redis.asyncio import Redis as Client

from evermq.adapters.open import open_place
from evermq.drills.engines.redis import Redis
from evermq.message import MessageFactory
from evermq.port import Reader

GROUPS = ["a", "b"]
message = MessageFactory()


async def bodies(reader: Reader) -> list[bytes]:
    found = await reader.read(count_max=10, wait_ms=2_000)
    await reader.ack(found)
    return [delivery.message.body for delivery in found]


async def test_entry_that_was_not_counted_comes_and_holds_up_nothing(redis_server: Redis, topic: str) -> None:
    """Seen once behind a killed server; what came behind it alone waited for ever."""
    place, key = await open_place(redis_server.url()), f"evermq:{{{topic}.1.0}}:list"
    await place.create(topic, groups=GROUPS, lanes=1)
    queue = await place.queue(topic)
    readers = [await queue.reader(group) for group in GROUPS]
    await queue.append([message("first")])
    async with Client.from_url(redis_server.url()) as client:
        entry = await client.lindex(key, 0)
        assert entry
        for reader in readers:
            assert await bodies(reader) == [b"first"]
        assert await client.llen(key) == 0
        await client.rpush(key, entry)
    await queue.append([message("second")])
    for reader in readers:
        assert await bodies(reader) == [b"first", b"second"]
    await queue.append([message("third")])
    for reader in readers:
        assert await bodies(reader) == [b"third"]
    assert [await queue.backlog(group) for group in GROUPS] == [0, 0]
    await place.close()
