"""Large entries of a real Redis, which are read beside the script that leases their lane."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from evermq.adapters.open import open_place
from evermq.adapters.redis.wire import Stretch, Wire
from evermq.drills.engines.redis import Redis
from evermq.errors import Damaged, Uncertain
from evermq.message import Message, MessageFactory
from evermq.port import Delivery, Place, Queue, Reader

COUNT, SIZE = 500, 1_024  # nine entries of 64 KiB or so
Act = Callable[[], Awaitable[object]]
message = MessageFactory()


class Between:
    """What happens, once, before the large entries are read. read: how often they were."""

    def __init__(self) -> None:
        self.act: Act | None = None
        self.read = 0


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Between:
    state, entries = Between(), Wire.entries

    async def read(wire: Wire, wanted: Sequence[Stretch]) -> list[tuple[list[Any], list[bytes]]]:
        state.read += 1
        act, state.act = state.act, None
        if act:
            await act()
        return await entries(wire, wanted)

    monkeypatch.setattr(Wire, "entries", read)
    return state


@pytest.fixture
async def place(redis_server: Redis) -> AsyncIterator[Place]:
    found = await open_place(redis_server.url())
    yield found
    await found.close()


async def filled(place: Place, topic: str, *, groups: Sequence[str] = ("g",)) -> tuple[Queue, list[Message]]:
    await place.create(topic, groups=groups, lanes=1)
    queue = await place.queue(topic)
    messages = [message(bytes(SIZE), key="k") for _ in range(COUNT)]
    await queue.append(messages)
    return queue, messages


async def some(reader: Reader, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    while len(found) < count and (more := await reader.read(count_max=count - len(found), wait_ms=2_000)):
        found += more
    return found


async def test_batch_of_large_entries_is_read_whole_and_in_order(place: Place, topic: str, between: Between) -> None:
    queue, messages = await filled(place, topic)
    reader = await queue.reader("g")
    found = await reader.read(count_max=COUNT, wait_ms=2_000)
    assert [each.message for each in found] == messages
    assert {each.attempt for each in found} == {1}
    assert between.read == 1
    await reader.ack(found)
    assert await queue.backlog("g") == 0


async def test_entries_that_a_slower_group_lets_go_of_meanwhile_move_nothing(
    place: Place, topic: str, between: Between
) -> None:
    queue, messages = await filled(place, topic, groups=["g", "slow"])
    reader, slow = await queue.reader("g"), await queue.reader("slow")
    first, slows = await some(reader, 100), await some(slow, 100)
    await reader.ack(first)
    between.act = lambda: slow.ack(slows)
    found = await some(reader, COUNT - 100)
    assert between.act is None
    assert [each.message for each in (*first, *found)] == messages
    await reader.ack(found)
    await slow.ack(await some(slow, COUNT - 100))
    assert await queue.backlog("g") == await queue.backlog("slow") == 0


async def test_topic_that_was_made_anew_meanwhile_hands_out_nothing_of_the_new_one(
    place: Place, topic: str, between: Between
) -> None:
    queue, messages = await filled(place, topic)
    reader = await queue.reader("g")

    async def anew() -> None:
        await place.drop(topic)
        await filled(place, topic)

    between.act = anew
    found = await reader.read(count_max=COUNT, wait_ms=2_000)
    assert between.act is None
    assert [each.message for each in found] == messages[: len(found)]  # what the script itself read
    assert len(found) < COUNT


async def test_entries_whose_reading_failed_come_again(place: Place, topic: str, between: Between) -> None:
    queue, messages = await filled(place, topic)
    reader = await queue.reader("g")

    async def lost() -> None:
        raise Uncertain("the answer got lost")

    between.act = lost
    with pytest.raises(Uncertain):
        await reader.read(count_max=COUNT, wait_ms=2_000)
    found = await some(reader, COUNT)
    assert [each.message for each in found] == messages
    assert {each.attempt for each in found} == {2}  # as after a crash
    await reader.ack(found)
    assert await queue.backlog("g") == 0


async def test_list_that_somebody_else_emptied_meanwhile_is_damaged(
    place: Place, topic: str, between: Between, redis_server: Redis
) -> None:
    queue, messages = await filled(place, topic)
    reader = await queue.reader("g")

    async def emptied() -> None:
        from redis.asyncio import Redis as Client

        async with Client(port=redis_server.port) as client:
            [name] = [key async for key in client.scan_iter(f"evermq:{{{topic}.*:list")]
            await client.delete(name)

    between.act = emptied
    found = await reader.read(count_max=COUNT, wait_ms=2_000)
    assert [each.message for each in found] == messages[: len(found)]
    await reader.ack(found)
    with pytest.raises(Damaged, match="somebody else removed entries"):
        await reader.read(count_max=COUNT, wait_ms=2_000)
