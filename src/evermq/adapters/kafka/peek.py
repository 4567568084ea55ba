"""Looks at single records of a topic without being a member of any group."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from evermq.adapters.kafka.errors import of_librdkafka
from evermq.adapters.kafka.making import made
from evermq.adapters.kafka.records import NO_TIME_MS
from evermq.adapters.kafka.settings import Settings
from evermq.clock import SYSTEM

__all__ = ["timestamps"]

_WAIT_MS = 4_000


async def timestamps(settings: Settings, topic: str, offsets: Mapping[int, int]) -> dict[int, int]:
    """When the first record at or behind an offset was written, by lane; lanes that have none there, or one without a
    time, are left out."""
    return await asyncio.to_thread(_timestamps, settings, topic, offsets) if offsets else {}


def _timestamps(settings: Settings, topic: str, offsets: Mapping[int, int]) -> dict[int, int]:
    consumer = made(
        Consumer,
        {
            **settings.admin,
            "group.id": settings.group_prefix + "evermq-peek",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        },
    )
    found: dict[int, int] = {}
    try:
        consumer.assign([TopicPartition(topic, lane, offset) for lane, offset in offsets.items()])
        open_lanes = set(offsets)
        until_ms = SYSTEM.monotonic_ms() + _WAIT_MS
        while open_lanes and SYSTEM.monotonic_ms() < until_ms:
            for each in consumer.consume(100, 0.01):
                lane = each.partition()
                if lane in open_lanes and not each.error():
                    _, written_ms = each.timestamp()
                    if written_ms > NO_TIME_MS:
                        found[lane] = written_ms
                open_lanes.discard(lane)
    except KafkaException as error:
        raise of_librdkafka(error.args[0], f"topic {topic}") from None
    finally:
        consumer.close()
    return found
