"""Which topics there are: one message in a quorum queue. Whoever holds that message may change it.

AMQP has no way to list anything, and the management interface is a plugin that users of a topic have no right to. The
message is JSON: for each topic its lanes, its groups, and a number that rises with every change; a topic that was
dropped stays for an hour, as a number without lanes. Should a crash leave two messages there, the higher number of each
topic wins.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp import commands

from evermq.adapters.rabbitmq.link import Link, leave
from evermq.adapters.rabbitmq.topic import Control, Topic
from evermq.clock import SYSTEM
from evermq.errors import Damaged, Unavailable, Uncertain

__all__ = ["Registry"]

_PAUSE_MS = 10.0
_DROPPED_MS_MAX = 3_600_000  # a connection that is dead gives back what it held long before
_Record = dict[str, Any]


class Registry:
    """queue: its name."""

    def __init__(self, queue: str, control: Control, link: Link, timeout_ms: int) -> None:
        self._queue = queue
        self._control = control
        self._link = link
        self._timeout_ms = timeout_ms

    async def topics(self) -> dict[str, Topic]:
        """All of them, by name."""
        if not await self._control.exists(self._queue):
            return {}
        async with self._held() as (records, _):
            return _topics(records)

    async def change(self, name: str, lanes: int, groups: tuple[str, ...]) -> Topic:
        """Write a topic down with these groups besides those it has; it keeps its lanes if it has some."""
        if not await self._control.exists(self._queue):
            await self._control.make_queue(self._queue, None, "make the registry of topics")
            channel = await self._link.channel(Channel, publisher_confirms=True)
            try:
                await self._write(channel, {})
            finally:
                await asyncio.wait([leave(self._link, channel)])
        async with self._held() as (records, channel):
            before = _topics(records).get(name)
            kept = before.groups if before else ()
            topic = Topic(name, before.lanes if before else lanes, tuple(dict.fromkeys([*kept, *groups])))
            if topic != before:
                await self._put(channel, records, topic)
        return topic

    async def leave(self, name: str, group: str) -> None:
        """Strike a group of a topic out."""
        async with self._held() as (records, channel):
            topic = _topics(records).get(name)
            if topic and group in topic.groups:
                left = tuple(each for each in topic.groups if each != group)
                await self._put(channel, records, topic._replace(groups=left))

    async def forget(self, name: str) -> None:
        """Strike a topic out."""
        async with self._held() as (records, channel):
            number = records.get(name, {}).get("number", 0) + 1
            records[name] = {"number": number, "dropped_ms": SYSTEM.now_ms()}
            await self._write(channel, records)

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[tuple[dict[str, _Record], Channel]]:
        """What stands there, while nobody else has it. What is written meanwhile takes its place."""
        channel: Channel = await self._link.channel(Channel, publisher_confirms=True)
        try:
            held = await self._take(channel)
            records = _merged([_decoded(each.body, self._queue) for each in held])
            before = channel.delivery_tag
            yield records, channel
            for each in held:
                if each.delivery_tag and (channel.delivery_tag > before or each is not held[0]):
                    await channel.basic_ack(each.delivery_tag)
            if len(held) > 1 and channel.delivery_tag == before:
                await self._write(channel, records)
        finally:
            await asyncio.wait([leave(self._link, channel)])  # gives back what is still held

    async def _take(self, channel: Channel) -> list[DeliveredMessage]:
        """Every message that is there; waits for one that somebody else has."""
        until_ms = SYSTEM.monotonic_ms() + self._timeout_ms
        pause_ms = _PAUSE_MS
        while True:
            found: list[DeliveredMessage] = []
            while True:
                got = await self._link.ask(channel.basic_get(self._queue), f"read {self._queue}")
                if isinstance(got.delivery, commands.Basic.GetEmpty):
                    break
                found.append(got)
            if found:
                return found
            if SYSTEM.monotonic_ms() > until_ms:
                raise Unavailable(
                    f"queue {self._queue} has no message to take: somebody holds it, or it was purged; if nobody does, "
                    "delete that queue and make the topics again, their messages are kept"
                )
            await asyncio.sleep(pause_ms / 1000)
            pause_ms = min(2 * pause_ms, 200)

    async def _put(self, channel: Channel, records: dict[str, _Record], topic: Topic) -> None:
        number = records.get(topic.name, {}).get("number", 0) + 1
        records[topic.name] = {"number": number, "lanes": topic.lanes, "groups": list(topic.groups)}
        await self._write(channel, records)

    async def _write(self, channel: Channel, records: dict[str, _Record]) -> None:
        properties = commands.Basic.Properties(delivery_mode=2, content_type="application/json")
        body = json.dumps(_remembered(records), sort_keys=True).encode()
        publish = channel.basic_publish(body, routing_key=self._queue, properties=properties, mandatory=True)
        try:
            await self._link.ask(publish, f"write {self._queue}")
        except Uncertain as error:
            raise Unavailable(str(error)) from error


def _topics(records: dict[str, _Record]) -> dict[str, Topic]:
    return {
        name: Topic(name, record["lanes"], tuple(record["groups"]))
        for name, record in records.items()
        if "lanes" in record
    }


def _remembered(records: dict[str, _Record]) -> dict[str, _Record]:
    """Without topics that were dropped long ago."""
    now_ms = SYSTEM.now_ms()
    return {
        name: record
        for name, record in records.items()
        if "lanes" in record or abs(now_ms - record.get("dropped_ms", 0)) < _DROPPED_MS_MAX
    }


def _merged(several: list[dict[str, _Record]]) -> dict[str, _Record]:
    merged: dict[str, _Record] = {}
    for records in several:
        for name, record in records.items():
            if record["number"] > merged.get(name, {"number": 0})["number"]:
                merged[name] = record
    return merged


def _decoded(body: bytes, queue: str) -> dict[str, _Record]:
    try:
        records: dict[str, _Record] = json.loads(body)
        for record in records.values():
            record["number"] + record.get("dropped_ms", 0)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"queue {queue} holds something that is no list of evermq's topics: {error}") from error
    return records
