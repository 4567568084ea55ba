"""A reader that keeps order, and whose application has no time for its end."""

from __future__ import annotations

import asyncio

import pytest
from tests.policy.test_ordered import Slot

from evermq.adapters.memory import MemoryQueue
from evermq.errors import Closed, Denied
from evermq.message import MessageFactory
from evermq.policy.ordered import Ordered
from evermq.port import Delivery
from evermq.progress.memory import MemoryPart, MemoryProgress

make = MessageFactory()


async def test_reader_whose_close_is_given_up_ends_all_the_same() -> None:
    """Else the reader below it would hold what it was handed as long as the process lives."""
    rung, store = MemoryQueue("t", lanes=1), MemoryProgress()
    queue = Ordered(rung, slot=Slot().take, progress=store, rungs={"primary": rung})
    await queue.append([make(str(number), key="k") for number in range(3)])
    first = await queue.reader("g")
    [held] = await first.read(count_max=1, wait_ms=1_000)
    closing = asyncio.create_task(first.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    await first.close()
    second = await queue.reader("g")
    found: list[Delivery] = []
    async with asyncio.timeout(20):
        while len(found) < 3:
            found += await second.read(count_max=10, wait_ms=1_000)
    assert [each.message.body for each in found] == [b"0", b"1", b"2"]
    assert found[0].message.id == held.message.id
    await queue.close()


async def test_reader_whose_store_refuses_its_leave_keeps_nothing_else_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ladder, say, with the slot of this process, and what it still has to carry up."""

    async def refuse(part: MemoryPart) -> None:
        raise Denied("the password was changed")

    rung, store = MemoryQueue("t", lanes=1), MemoryProgress()
    queue = Ordered(rung, slot=Slot().take, progress=store, rungs={"primary": rung})
    await queue.reader("g")
    monkeypatch.setattr(MemoryPart, "leave", refuse)
    await queue.close()
    with pytest.raises(Closed):
        await rung.append([make("x")])
