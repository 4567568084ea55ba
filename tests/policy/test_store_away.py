"""What a reader does while its store of progress is away: it hands out no more than can be settled again soon."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.policy.test_gate import LANE, claimed, delivery
from tests.policy.test_ordered import Slot
from tests.policy.test_ordered_reader import SILENT_MS, Distance, make, read

from evermq.adapters.memory import MemoryQueue
from evermq.client.consumer import Consumer
from evermq.errors import Unavailable
from evermq.ha.route import Route
from evermq.policy.ordered import Ordered
from evermq.policy.ordered_reader import OrderedReader
from evermq.port import Delivery
from evermq.progress.memory import MemoryProgress
from evermq.testing.worlds.order_progress import DistantPart, DistantProgress, Way

CALLS = ("claim", "give_back", "settle", "look", "renew")


def ladder(way: Way, *, silent_ms_max: int = SILENT_MS, window_count_max: int = 10_000) -> Ordered:
    rungs = {"primary": MemoryQueue("t", lanes=3), "standby": MemoryQueue("t", lanes=2)}
    progress = DistantProgress(MemoryProgress(silent_ms_max=silent_ms_max), way)
    route = Route(rungs)
    return Ordered(route, slot=Slot().take, progress=progress, rungs=rungs, window_count_max=window_count_max)


def away(way: Distance, *calls: str) -> None:
    way.errors.update({call: Unavailable("the store is away") for call in calls or CALLS})


async def not_settled(reader: OrderedReader, found: Sequence[Delivery]) -> None:
    with pytest.raises(Unavailable):
        await reader.ack(found)


async def test_what_cannot_be_settled_is_kept_once_however_often_that_is_tried() -> None:
    way = Distance()
    queue = ladder(way)
    reader = await queue.reader("g")
    for body in ("1", "2", "3"):
        await queue.append([make(body, key="k")])
    found = await read(reader, 3)
    away(way, "settle")
    for _ in range(5):
        await not_settled(reader, found)
    assert [len(lane.drops) for lane in reader._gate.lanes.values()] == [3]
    way.errors.clear()
    async with asyncio.timeout(10):
        while await queue.backlog("g"):
            await asyncio.sleep(0.01)
    await queue.close()


def test_what_was_settled_as_its_lane_was_lost_goes_back_once() -> None:
    gate = claimed()
    tickets = [each.receipt for each in gate.offer([delivery(2)], 0)]
    gate.settle(tickets)
    gate.lost(LANE)
    assert [each.message.id for each in gate.unwritten(tickets)] == ["m2"]
    assert gate.unwritten(tickets) == []


async def test_reader_that_others_may_take_for_gone_hands_out_nothing_until_the_store_answers() -> None:
    way = Distance()
    queue = ladder(way)
    reader = await queue.reader("g")
    await queue.append([make("1", key="k")])
    await reader.ack(await read(reader, 1))
    away(way)
    await asyncio.sleep(2 * SILENT_MS / 1000)
    await queue.append([make("2", key="k")])
    assert await reader.read(count_max=1, wait_ms=300) == []
    way.errors.clear()
    assert [each.message.body for each in await read(reader, 1)] == [b"2"]
    await queue.close()


async def test_what_was_read_and_is_not_handed_out_yet_waits_as_well() -> None:
    way = Distance()
    queue = ladder(way)
    reader = await queue.reader("g")
    for body in ("1", "2"):
        await queue.append([make(body, key="k")])
    [first] = await read(reader, 1)
    away(way)
    await asyncio.sleep(2 * SILENT_MS / 1000)
    await not_settled(reader, [first])
    assert await reader.read(count_max=1, wait_ms=100) == []
    way.errors.clear()
    [second] = await read(reader, 1)
    await reader.ack([first, second])
    assert await queue.backlog("g") == 0
    await queue.close()


async def test_no_more_than_a_window_is_handled_that_cannot_be_written_down() -> None:
    """The store hears that the reader lives, and takes nothing: its disk is full, say."""
    way = Distance()
    queue = ladder(way, silent_ms_max=60_000, window_count_max=3)
    reader = await queue.reader("g")
    for number in range(9):
        await queue.append([make(f"{number}", key="k")])
    await reader.ack(await read(reader, 1))
    away(way, "settle")
    for _ in range(3):
        await not_settled(reader, await read(reader, 1))
    assert await reader.read(count_max=1, wait_ms=300) == []
    way.errors.clear()
    assert [each.message.body for each in await read(reader, 5)] == [b"4", b"5", b"6", b"7", b"8"]
    await queue.close()


async def test_consumer_waits_for_the_store_and_goes_on() -> None:
    way, handled = Distance(), list[bytes]()
    queue = ladder(way)
    async with asyncio.timeout(30), Consumer(queue, "g", lambda each: handled.append(each.message.body)):
        await queue.append([make("1", key="k")])
        while await queue.backlog("g"):
            await asyncio.sleep(0.01)
        away(way)
        await asyncio.sleep(2 * SILENT_MS / 1000)
        await queue.append([make("2", key="k")])
        await asyncio.sleep(SILENT_MS / 1000)
        assert handled == [b"1"]
        way.errors.clear()
        while await queue.backlog("g"):
            await asyncio.sleep(0.01)
    assert handled == [b"1", b"2"]
    await queue.close()


async def test_store_that_does_not_answer_holds_up_no_close(monkeypatch: pytest.MonkeyPatch) -> None:
    async def leave(self: DistantPart) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(DistantPart, "leave", leave)
    queue = ladder(Distance())
    await queue.reader("g")
    async with asyncio.timeout(30):
        await queue.close()
