"""Readers and places of a real Redis whose close is cut, as by a timeout, while a request of theirs has no answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from evermq.adapters.open import open_place
from evermq.adapters.redis.wire import Request, Wire
from evermq.drills.engines.redis import Redis
from evermq.errors import Closed
from evermq.message import MessageFactory
from evermq.port import Place, Queue, Reader

message = MessageFactory()


class Kept:
    """The answer to the first request for more of a lane is kept back until it `may` go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.may = asyncio.Event(), asyncio.Event()
        self._is_wanted = False
        calls = Wire.calls

        async def called(wire: Wire, *requests: Request) -> list[list[Any]]:
            found = await calls(wire, *requests)
            if self._is_wanted and requests[-1].script.name == "take":
                self._is_wanted = False
                self.asked.set()
                await self.may.wait()
            return found

        monkeypatch.setattr(Wire, "calls", called)

    async def read(self, reader: Reader) -> None:
        """Until it is kept, and is given up."""
        self._is_wanted = True
        reading = asyncio.create_task(reader.read(count_max=1, wait_ms=10_000))
        await self.asked.wait()
        await cut(reading)


async def cut(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def cut_close(thing: Reader | Place) -> None:
    """Closed, and given up before that has come to its end."""
    closing = asyncio.create_task(thing.close())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not closing.done()
    await cut(closing)


@pytest.fixture
async def queue(redis_server: Redis, topic: str) -> AsyncIterator[Queue]:
    place = await open_place(f"{redis_server.url()}?lease_ms=500")
    await place.create(topic, groups=["g"], lanes=1)
    queue = await place.queue(topic)
    await queue.append([message(text, key="a") for text in "abc"])
    yield queue
    await place.close()


async def test_leases_of_a_reader_whose_close_was_cut_end_by_themselves(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(monkeypatch)
    reader = await queue.reader("g")
    assert await reader.read(count_max=1, wait_ms=10_000)
    await kept.read(reader)
    await cut_close(reader)
    found = await (await queue.reader("g")).read(count_max=10, wait_ms=10_000)
    assert [each.message.body for each in found][:1] == [b"a"]
    kept.may.set()


async def test_close_that_was_cut_goes_on_and_a_later_one_waits_for_it(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(monkeypatch)
    reader = await queue.reader("g")
    assert await reader.read(count_max=1, wait_ms=10_000)
    await kept.read(reader)
    await cut_close(reader)
    kept.may.set()
    await reader.close()
    assert not reader._leases._held  # type: ignore[attr-defined]
    found = await (await queue.reader("g")).read(count_max=10, wait_ms=10_000)
    assert [each.message.body for each in found][:2] == [b"a", b"b"]


async def test_place_whose_close_was_cut_keeps_no_reader_of_another_queue_open(
    redis_server: Redis, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(monkeypatch)
    place = await open_place(redis_server.url())
    await place.create(topic, groups=["g"], lanes=1)
    queues = [await place.queue(topic) for _ in range(2)]
    await queues[0].append([message("a")])
    slow, other = [await queue.reader("g") for queue in queues]
    await kept.read(slow)
    await cut_close(place)
    assert other.closed  # type: ignore[attr-defined]
    kept.may.set()
    await place.close()
    assert not slow._leases._held  # type: ignore[attr-defined]
    with pytest.raises(Closed):
        await place._wire.tell("", "PING")  # type: ignore[attr-defined]
