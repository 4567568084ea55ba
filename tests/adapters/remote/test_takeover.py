"""A process that goes on with another owner, doing several things at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from evermq.adapters.open import open_log
from evermq.adapters.remote.shared import SharedPlace
from evermq.adapters.remote.shared_queue import SharedQueue
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


async def test_reader_that_is_closed_while_it_is_opened_at_the_next_owner_holds_nothing(directory: Directory) -> None:
    queue = await directory.client.queue("orders")
    reader = await queue.reader("g")
    await queue.append([make(str(number), key=str(number)) for number in range(40)])
    await directory.change_owner()
    reading = asyncio.create_task(reader.read(count_max=10, wait_ms=1_000))
    assert isinstance(queue, SharedQueue)
    while not directory.client.is_served_by(queue._place):
        await asyncio.sleep(0)
    await reader.close()
    await asyncio.gather(reading, return_exceptions=True)
    await settle_all(queue, await queue.reader("g"), [])


async def test_place_that_is_closed_while_it_looks_for_an_owner_does_not_stay_it(tmp_path: Path) -> None:
    """The directory could not be opened by anybody else as long as the process lives."""
    owner, client = await open_log(tmp_path / "log"), await open_log(tmp_path / "log")
    await client.topics()
    await owner.close()
    asking = asyncio.create_task(client.topics())
    while not client._changing.locked():  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    await client.close()
    await asyncio.gather(asking, return_exceptions=True)
    following = await open_log(tmp_path / "log")
    assert isinstance(following, SharedPlace)
    assert following.is_owner
    await following.close()


async def test_topic_that_another_client_made_anew_is_opened_as_it_is_now(tmp_path: Path) -> None:
    owner, first, second = [await open_log(tmp_path / "log") for _ in range(3)]
    before = await first.queue("orders")
    await before.append([make("old")])
    await second.drop("orders")
    await second.create("orders", groups=["g"])
    await (await first.queue("orders")).append([make("new")])
    [found] = await (await (await second.queue("orders")).reader("g")).read(count_max=10, wait_ms=1_000)
    assert found.message.body == b"new"
    for place in (first, second, owner):
        await place.close()
