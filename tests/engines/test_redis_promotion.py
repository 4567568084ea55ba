"""A replica that is set up weaker than its master, and takes its place."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis as Client

from evermq.adapters.open import inspect, open_place
from evermq.drills.engines.redis import RedisSentinel
from evermq.errors import Unavailable, Uncertain
from evermq.message import MessageFactory
from evermq.traits import Durable

message = MessageFactory()


async def test_weaker_replica_is_named_by_doctor_and_takes_no_appends_when_it_is_promoted(
    redis_sentinel_server: RedisSentinel, topic: str
) -> None:
    server = redis_sentinel_server
    master = server.leader()
    [replica] = [port for name, port in zip(("redis-1", "redis-2"), server._ports, strict=True) if name != master.name]
    place = await open_place(server.url() + "&timeout_ms=1500&require=disk")
    await place.create(topic, groups=["g"], lanes=1)
    queue = await place.queue(topic)
    async with Client(port=replica) as client:
        await client.config_set("appendonly", "no")
        found = await inspect(server.url(topic))
        assert found.durable is Durable.DISK
        advised = {each.setting for each in found.findings if each.advice}
        assert f"replica 127.0.0.1:{replica} appendonly" in advised
        await queue.append([message("before")])
        await asyncio.to_thread(master.kill)
        refusal = ""
        while "took over" not in refusal:
            with pytest.raises((Unavailable, Uncertain)) as raised:
                await queue.append([message("meanwhile")])
            refusal = str(raised.value)
            await asyncio.sleep(0.1)
        assert "appendonly = no" in refusal
        await client.config_set("appendonly", "yes")
        async with asyncio.timeout(30):
            while True:
                try:
                    await queue.append([message("after")])
                    break
                except Unavailable:
                    await asyncio.sleep(0.1)
        reader = await queue.reader("g")
        assert (await reader.read(count_max=10, wait_ms=10_000))[-1].message.body == b"after"
    await place.close()
