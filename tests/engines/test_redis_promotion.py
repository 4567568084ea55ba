"""A replica that is set up weaker than its master, and takes its place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis as Client
from tests.engines.conftest import started

from evermq.adapters.open import inspect, open_place
from evermq.drills.engines.engine import Engine
from evermq.drills.engines.redis import RedisSentinel
from evermq.errors import Unavailable, Uncertain
from evermq.message import MessageFactory
from evermq.port import Queue
from evermq.traits import Durable

message = MessageFactory()


@pytest.fixture
def own_servers() -> Iterator[Engine]:
    """Sentinels write the settings of whom they promote to its file: other tests would find it weak later on."""
    yield from started(RedisSentinel)


async def test_weaker_replica_is_named_by_doctor_and_takes_no_appends_when_it_is_promoted(
    own_servers: RedisSentinel, topic: str
) -> None:
    server = own_servers
    master = server.leader()
    replica = _port(server, "redis-2" if master.name == "redis-1" else "redis-1")
    place = await open_place(server.url() + "&timeout_ms=1500&require=disk")
    await place.create(topic, groups=["g"], lanes=1)
    queue = await place.queue(topic)
    async with Client(port=replica) as client:
        await client.config_set("appendonly", "no")
        async with Client(port=_port(server, master.name)) as leading:
            await leading.config_set("min-replicas-to-write", 1)
        await client.config_set("replica-priority", 0)
        assert not [each for each in (await inspect(server.url(topic))).findings if "replica " in each.setting]
        await client.config_set("replica-priority", 100)
        found = await inspect(server.url(topic))
        assert found.durable is Durable.DISK
        advised = {each.setting for each in found.findings if each.advice}
        assert f"replica 127.0.0.1:{replica} appendonly" in advised
        assert f"replica 127.0.0.1:{replica} min-replicas-to-write" in advised
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


async def test_standby_that_keeps_what_is_required_serves_and_the_claim_sinks(
    own_servers: RedisSentinel, topic: str
) -> None:
    master = own_servers.leader()
    replica = _port(own_servers, "redis-2" if master.name == "redis-1" else "redis-1")
    place = await open_place(own_servers.url() + "&timeout_ms=1500&require=process")
    await place.create(topic, groups=["g"], lanes=1)
    queue = await place.queue(topic)
    assert queue.traits.durable is Durable.DISK
    async with Client(port=replica) as client:
        await client.config_set("appendfsync", "everysec")
    await asyncio.to_thread(master.kill)
    async with asyncio.timeout(60):
        while not await _is_appended(queue):
            await asyncio.sleep(0.1)
    claimed = queue.traits
    assert claimed.durable is Durable.PROCESS
    await place.close()


async def _is_appended(queue: Queue) -> bool:
    try:
        await queue.append([message("x")])
    except (Unavailable, Uncertain):
        return False
    return True


def _port(server: RedisSentinel, name: str) -> int:
    return server._ports[int(name.removeprefix("redis-")) - 1]
