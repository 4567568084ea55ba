"""Brokers that name no broker, as one does that was taken for dead: the driver would never find one again."""

import asyncio

import pytest
from tests.engines.brokerless import Brokerless

from evermq.adapters.kafka.place import KafkaPlace
from evermq.adapters.open import open_place, open_queue
from evermq.client.consumer import Consumer
from evermq.drills.engines.engine import Engine
from evermq.errors import Unavailable
from evermq.message import MessageFactory
from evermq.port import Delivery

NOTICED_S = 12  # the session of a member is over, and the driver knows no broker any more
OPTIONS = "?session.timeout.ms=6000&topic.metadata.refresh.interval.ms=1000"
make = MessageFactory()


async def test_place_is_asked_again_with_another_client(kafka_server: Engine, topic: str) -> None:
    async with Brokerless(kafka_server.doors[0]) as door:
        place = await open_place(kafka_server.url(proxied=True))
        assert isinstance(place, KafkaPlace)
        await place.create(topic, lanes=1)
        door.is_on = True
        with pytest.raises(Unavailable):
            await place.admin.topic(topic)
        assert door.told
        door.is_on = False
        for left in range(3, -1, -1):
            try:
                assert (await place.admin.topic(topic)).lanes == 1
                break
            except Unavailable:
                assert left
        await place.close()


async def test_consumer_reads_on_once_brokers_are_named_again(kafka_server: Engine, topic: str) -> None:
    handled: asyncio.Queue[bytes] = asyncio.Queue()

    async def handle(delivery: Delivery) -> None:
        handled.put_nowait(delivery.message.body)

    async with Brokerless(kafka_server.doors[0]) as door:
        place = await open_place(kafka_server.url())
        await place.create(topic, lanes=1)
        queue = await open_queue(kafka_server.url(topic, proxied=True) + OPTIONS)
        async with Consumer(queue, group="readers", handler=handle):
            await queue.append([make(b"before")])
            assert await asyncio.wait_for(handled.get(), 30) == b"before"
            door.is_on = True
            await asyncio.sleep(NOTICED_S)
            assert door.told
            door.is_on = False
            await queue.append([make(b"behind")])
            assert await asyncio.wait_for(handled.get(), 60) == b"behind"
        assert handled.empty()
        await queue.close()
        await place.close()
