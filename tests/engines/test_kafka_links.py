"""Three nodes of which two hear each other no more: the majority keeps what is acknowledged, and all in the end."""

import asyncio

from tests.engines.test_kafka_servers import admin, make, send

from evermq.drills.engines.engine import Engine
from evermq.drills.engines.kafka_linked import KafkaLinked


def in_sync(server: Engine, topic: str) -> int:
    return len(admin(server).list_topics(topic, timeout=10).topics[topic].partitions[0].isrs)


async def test_bridge_between_two_nodes_takes_one_out_until_the_link_is_mended(
    kafka_linked_server: Engine, topic: str
) -> None:
    server = kafka_linked_server
    assert isinstance(server, KafkaLinked)
    await asyncio.to_thread(make, server, topic)
    assert await asyncio.to_thread(send, server, topic) == 10
    leader = server.leader(topic).name
    other = next(name for name in server.nodes if name != leader)
    await asyncio.to_thread(server.cut, leader, other)
    async with asyncio.timeout(60):
        while await asyncio.to_thread(in_sync, server, topic) == 3:
            await asyncio.sleep(0.5)
    assert await asyncio.to_thread(send, server, topic) == 10
    await asyncio.to_thread(server.heal)
    async with asyncio.timeout(60):
        while await asyncio.to_thread(in_sync, server, topic) < 3:
            await asyncio.sleep(0.5)
    assert await asyncio.to_thread(send, server, topic) == 10
