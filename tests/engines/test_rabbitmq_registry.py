"""RabbitMQ's list of topics, on a real server: what it remembers of those that were dropped, and for how long."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiormq.connection import Connection
from pamqp import commands

from evermq.adapters.open import open_place
from evermq.clock import SYSTEM
from evermq.drills.engines.rabbitmq import RabbitMQ

HOUR_MS = 3_600_000


class Hand:
    """Reads and writes the message in which the topics stand, as no place does."""

    def __init__(self, server: RabbitMQ, queue: str) -> None:
        self._connection = Connection(server.url().replace("rabbitmq://", "amqp://guest:guest@"))
        self._queue = queue

    async def __aenter__(self) -> Hand:
        await self._connection.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def read(self) -> bytes:
        channel = await self._connection.channel()
        body = (await channel.basic_get(self._queue)).body
        await channel.close()  # gives it back
        return body

    async def write(self, body: bytes) -> None:
        channel = await self._connection.channel()
        properties = commands.Basic.Properties(delivery_mode=2)
        await channel.basic_publish(body, routing_key=self._queue, properties=properties)
        await channel.close()


async def test_topics_that_were_dropped_long_ago_are_forgotten(
    rabbitmq_server: RabbitMQ, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process that probes makes and drops some, and the whole list is written with each change."""
    place = await open_place(f"{rabbitmq_server.url()}?registry={topic}-list")
    now_ms = SYSTEM.now_ms()
    for number in range(6):
        monkeypatch.setattr(SYSTEM, "now_ms", lambda ms=now_ms + number * HOUR_MS // 2: ms)
        await place.create(f"{topic}-{number}", groups=("a",), lanes=1)
        await place.drop(f"{topic}-{number}")
    await place.create(topic, groups=("a",), lanes=1)
    async with Hand(rabbitmq_server, f"{topic}-list") as hand:
        records: dict[str, Any] = json.loads(await hand.read())
    assert set(records) == {topic, f"{topic}-4", f"{topic}-5"}
    await place.drop(topic)
    await place.close()


async def test_topic_that_was_dropped_does_not_come_back_with_what_a_crash_left(
    rabbitmq_server: RabbitMQ, topic: str
) -> None:
    place = await open_place(f"{rabbitmq_server.url()}?registry={topic}-list")
    await place.create(topic, groups=("a",), lanes=1)
    async with Hand(rabbitmq_server, f"{topic}-list") as hand:
        before = await hand.read()
        await place.drop(topic)
        await hand.write(before)
        assert await place.topics() == []
        await place.create(f"{topic}-2", groups=("a",), lanes=1)
        assert await place.topics() == [f"{topic}-2"]
    await place.drop(f"{topic}-2")
    await place.close()
