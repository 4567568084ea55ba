"""Messages without a key while one of three brokers is dead, and nobody else has its partitions."""

from __future__ import annotations

import asyncio

from evermq.adapters.open import open_place
from evermq.drills.engines.engine import Engine
from evermq.errors import EvermqError
from evermq.message import MessageFactory
from evermq.port import Queue

make = MessageFactory()


async def failures(queue: Queue, count: int) -> int:
    failed = 0
    for _ in range(count):
        try:
            await queue.append([make(b"x")])
        except EvermqError:
            failed += 1
    return failed


async def lanes_of(queue: Queue, count: int) -> set[str]:
    return {(await queue.append([make(b"x")]))[0].lane for _ in range(count)}


async def test_they_go_to_partitions_of_the_others(kafka_three_server: Engine, topic: str) -> None:
    place = await open_place(f"{kafka_three_server.url()}?replicas=1&send_ms_max=600")
    await place.create(topic, lanes=3)
    queue = await place.queue(topic)
    while await failures(queue, 3):
        await asyncio.sleep(0.2)
    assert await lanes_of(queue, 3) == {"0", "1", "2"}
    node = kafka_three_server.leader(topic)
    node.kill()
    failed = await failures(queue, 300)
    assert failed <= 30  # a hundred would by turns
    await asyncio.to_thread(node.start)
    async with asyncio.timeout(120):
        while await failures(queue, 3) or len(await lanes_of(queue, 3)) < 3:
            await asyncio.sleep(0.2)
    await queue.close()
    await place.close()
