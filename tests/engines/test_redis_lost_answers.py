"""Answers of a real Redis that get lost after the server did what it was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from evermq.adapters.open import open_place
from evermq.adapters.redis.wire import Request, Wire
from evermq.drills.engines.redis import Redis
from evermq.errors import Uncertain
from evermq.message import MessageFactory
from evermq.port import Delivery, Queue, Reader

Make = Callable[[int], Awaitable[Queue]]
message = MessageFactory()


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Loses the next answer to a script of this name."""
    names: list[str] = []
    calls = Wire.calls

    async def called(wire: Wire, *requests: Request) -> list[list[Any]]:
        found = await calls(wire, *requests)
        if names and requests[-1].script.name == names[0]:
            raise Uncertain(f"the answer to {names.pop()} got lost")
        return found

    monkeypatch.setattr(Wire, "calls", called)
    return names.append


async def bodies(reader: Reader, count: int) -> dict[bytes, int]:
    """What is read and acknowledged, with attempts."""
    found: list[Delivery] = []
    while len(found) < count:
        some = await reader.read(count_max=10, wait_ms=10_000)
        assert some, f"{count} were due and {len(found)} came"
        await reader.ack(some)
        found += some
    return {each.message.body: each.attempt for each in found}


@pytest.fixture
async def make(redis_server: Redis, topic: str) -> AsyncIterator[Make]:
    """Makes a queue of so many lanes."""
    place = await open_place(redis_server.url())

    async def made(lanes: int) -> Queue:
        await place.create(topic, groups=["g"], lanes=lanes)
        return await place.queue(topic)

    yield made
    await place.close()


async def test_lanes_whose_taking_was_not_answered_come_again_to_the_same_reader(
    make: Make, lose: Callable[[str], None]
) -> None:
    queue = await make(4)
    for text in "abc":
        await queue.append([message(text)])
    reader = await queue.reader("g")
    lose("take")
    with pytest.raises(Uncertain):
        await reader.read(count_max=10, wait_ms=10_000)
    assert await bodies(reader, 3) == {b"a": 2, b"b": 2, b"c": 2}  # as after a crash
    await queue.append([message("d")])
    assert await bodies(reader, 1) == {b"d": 1}
    assert await queue.backlog("g") == 0


async def test_lane_that_is_in_hand_goes_on_when_taking_more_of_it_was_not_answered(
    make: Make, lose: Callable[[str], None]
) -> None:
    queue = await make(1)
    await queue.append([message(text) for text in "ab"])
    reader = await queue.reader("g")
    held = await reader.read(count_max=1, wait_ms=10_000)
    lose("take")
    with pytest.raises(Uncertain):
        await reader.read(count_max=1, wait_ms=10_000)
    assert list(await bodies(reader, 1)) == [b"b"]
    await reader.ack(held)
    assert await queue.backlog("g") == 0


async def test_batch_that_an_ack_brings_with_it_comes_again_when_the_answer_got_lost(
    make: Make, lose: Callable[[str], None]
) -> None:
    queue = await make(1)
    await queue.append([message(text) for text in "ab"])
    reader = await queue.reader("g")
    held = await reader.read(count_max=1, wait_ms=10_000)
    lose("take")
    with pytest.raises(Uncertain):
        await reader.ack(held)
    assert list(await bodies(reader, 1)) == [b"b"]
    assert await queue.backlog("g") == 0
