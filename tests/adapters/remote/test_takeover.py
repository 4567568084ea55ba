"""A process that goes on with another owner, doing several things at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from evermq.adapters.open import open_log
from evermq.adapters.remote.shared import SharedPlace
from evermq.message import MessageFactory
from evermq.port import Delivery, Queue, Reader

make = MessageFactory()


class Directory:
    """Three that have a log open: its owner, the one that takes over from it, and a client of both."""

    def __init__(self, owner: SharedPlace, following: SharedPlace, client: SharedPlace) -> None:
        self._owner, self._following, self.client = owner, following, client

    async def change_owner(self) -> None:
        await self._owner.close()
        await self._following.topics()
        assert self._following.is_owner

    async def close(self) -> None:
        for place in (self.client, self._following, self._owner):
            await place.close()


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[Directory]:
    places = [await open_log(tmp_path / "log", lanes=4) for _ in range(3)]
    found = Directory(*(place for place in places if isinstance(place, SharedPlace)))
    yield found
    await found.close()


async def settle_all(queue: Queue, reader: Reader, found: list[Delivery]) -> None:
    async with asyncio.timeout(30):
        await reader.ack(found)
        while await queue.backlog("g"):
            await reader.ack(await reader.read(count_max=100, wait_ms=100))


@pytest.mark.parametrize("has_queue", [True, False], ids=["the queue is asked too", "the reader alone"])
async def test_reader_asked_for_several_things_holds_nothing_back(directory: Directory, has_queue: bool) -> None:
    """What a second reader of its own was handed would be nobody's, and its lanes would stand still."""
    queue = await directory.client.queue("orders")
    reader = await queue.reader("g")
    await queue.append([make(str(number), key=str(number)) for number in range(40)])
    before = await reader.read(count_max=10, wait_ms=1_000)
    await directory.change_owner()
    reading = asyncio.create_task(reader.read(count_max=10, wait_ms=1_000))
    others = [reader.ack(before), reader.release(before)]
    if has_queue:
        await asyncio.gather(queue.backlog("g"), *others)
    else:
        await asyncio.gather(*others)
    await settle_all(queue, reader, await reading)
