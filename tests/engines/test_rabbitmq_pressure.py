"""RabbitMQ that does not read: what is handed to it waits here, bounded, and is told by its name."""

from __future__ import annotations

import asyncio

from evermq.adapters.address import parse
from evermq.adapters.rabbitmq.connect import connect
from evermq.drills.engines.rabbitmq import RabbitMQ
from evermq.errors import Unavailable, Uncertain
from evermq.message import MessageFactory

message = MessageFactory()
BODY = bytes(4 << 20)
APPENDS = 40  # more than sockets and the driver's queue hold together
WAITING_MAX = 12 << 20  # what one write leaves in the transport, and a batch behind it


async def test_server_that_does_not_read_is_not_written_to_without_end(rabbitmq_server: RabbitMQ, topic: str) -> None:
    place = await connect(parse(rabbitmq_server.url() + "?timeout_ms=3000", topic_needed=False))
    await place.create(topic, groups=["a"], lanes=1)
    queue = await place.queue(topic)
    await queue.append([message(b"first")])
    transport = place._sending._transport
    assert transport
    assert transport._writer
    node = rabbitmq_server.nodes["rabbit-1"]
    node.freeze()
    try:
        appends = [asyncio.create_task(queue.append([message(BODY)])) for _ in range(APPENDS)]
        await asyncio.sleep(1)
        waiting = transport._writer.transport.get_write_buffer_size()
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
    finally:
        node.thaw()
    assert 0 < waiting <= WAITING_MAX
    assert {type(each) for each in outcomes} == {Unavailable, Uncertain}
    assert len(await queue.append([message(b"last")])) == 1
    unsent = sum(isinstance(each, Unavailable) for each in outcomes)
    assert await queue.backlog("a") <= 2 + APPENDS - unsent
    await place.drop(topic)
    await place.close()
