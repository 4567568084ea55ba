"""Readers of RocketMQ whose connection breaks while they wait for messages."""

from __future__ import annotations

import asyncio

import pytest

from evermq.adapters.open import open_place
from evermq.adapters.rocketmq.reader import RocketReader
from evermq.drills.engines.rocketmq import RocketMQ
from evermq.message import MessageFactory
from evermq.port import Reader

pytestmark = pytest.mark.timeout(300)

GROUPS = [f"group-{number}" for number in range(12)]
BREAKS = 60
SILENT_MAX = 25  # reads of a second each: what is given back comes again within seconds


async def test_nobody_misses_what_was_handed_to_a_wait_that_is_broken(rocketmq_server: RocketMQ, topic: str) -> None:
    """The broker answers such a wait all the same, and the proxy gives back what it cannot pass on, to come after one
    second: were that the moment in which the lease ends (two seconds, and a proxy that is late by one), it would be
    lost to the group. docs/guide/rocketmq.md has the figures."""
    place = await open_place(rocketmq_server.url(topic) + "&lease_ms=10000&poll_ms=5000")
    await place.create(topic, groups=GROUPS, lanes=1)
    queue = await place.queue(topic)
    message = MessageFactory()
    readers = {group: await queue.reader(group) for group in GROUPS}
    missed = {group: set[str]() for group in GROUPS}
    for _ in range(BREAKS):
        await asyncio.gather(*(_take(reader, missed[group], 20) for group, reader in readers.items()))
        await asyncio.gather(*map(_break, readers.values()))
        made = message("x")
        for ids in missed.values():
            ids.add(made.id)
        await queue.append([made])
    await asyncio.gather(*(_drain(reader, missed[group]) for group, reader in readers.items()))
    await place.close()
    assert not {group: ids for group, ids in missed.items() if ids}


async def _take(reader: Reader, missed: set[str], wait_ms: int) -> int:
    found = await reader.read(count_max=32, wait_ms=wait_ms)
    await reader.ack(found)
    missed.difference_update(each.message.id for each in found)
    return len(found)


async def _drain(reader: Reader, missed: set[str]) -> None:
    silent = 0
    while missed and silent < SILENT_MAX:
        silent = 0 if await _take(reader, missed, 1_000) else silent + 1


async def _break(reader: Reader) -> None:
    """To the proxy it is the same as the end of a process: it learns that nobody waits for an answer any more."""
    assert isinstance(reader, RocketReader)
    waits = list(reader._group._polls)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
