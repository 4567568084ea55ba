"""Acknowledgements of `evermq read` while a rung is away."""

import asyncio
from collections.abc import Sequence

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.daemon import owed as owing
from evermq.daemon.owed import Owed
from evermq.errors import Unavailable
from evermq.message import MessageFactory
from evermq.port import Delivery, Reader
from evermq.position import Position

make = MessageFactory()


class Away:
    """A reader that takes no acknowledgement while it is away."""

    def __init__(self, reader: Reader) -> None:
        self.inner = reader
        self.is_away = False
        self.read, self.release, self.close = reader.read, reader.release, reader.close

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if self.is_away:
            raise Unavailable("away")
        await self.inner.ack(deliveries)


async def opened(count: int) -> tuple[MemoryQueue, Away]:
    queue = MemoryQueue("orders", lanes=1)
    reader = Away(await queue.reader("billing"))
    await queue.append([make(str(number)) for number in range(count)])
    return queue, reader


async def test_what_could_not_be_acknowledged_is_once_the_rung_is_back(capsys: pytest.CaptureFixture[str]) -> None:
    queue, reader = await opened(2)
    owed = Owed(reader)
    reader.is_away = True
    for _ in range(2):
        await owed.ack(await reader.read(count_max=1, wait_ms=1_000))
    assert await queue.backlog("billing") == 2
    assert capsys.readouterr().err.count("tried again") == 1
    reader.is_away = False
    async with asyncio.timeout(20):
        while await queue.backlog("billing"):
            await asyncio.sleep(0.01)
    await owed.close()


class OneAway:
    """A reader of two rungs, of which `standby` takes no acknowledgement. `last`: what was asked of it last."""

    def __init__(self) -> None:
        self.last: list[int | None] = []

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.last = [each.position.offset for each in deliveries]
        if any(each.position.via == ("standby",) for each in deliveries):
            raise Unavailable("away")


async def test_what_came_of_other_rungs_than_the_one_that_is_away_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owing, "_PAUSE_MS", 1)
    reader = OneAway()
    owed = Owed(reader)  # type: ignore[arg-type]
    for offset in range(10):
        position = Position("0", offset, ("standby" if offset == 0 else "primary",))
        await owed.ack([Delivery(make("x"), position, position, 1)])
    mixed = [Position("0", 10 + n, (rung,)) for n, rung in enumerate(("primary", "standby"))]
    await owed.ack([Delivery(make("x"), position, position, 1) for position in mixed])
    reader.last = []
    async with asyncio.timeout(20):
        while not reader.last:
            await asyncio.sleep(0.001)
    assert reader.last == [0, 11]
    with pytest.raises(Unavailable):
        await owed.close()


async def test_what_is_owed_at_the_end_is_tried_once_more_and_then_an_error() -> None:
    queue, reader = await opened(1)
    owed = Owed(reader)
    reader.is_away = True
    await owed.ack(await reader.read(count_max=1, wait_ms=1_000))
    with pytest.raises(Unavailable):
        await owed.close()
    reader.is_away = False
    await owed.close()
    assert await queue.backlog("billing") == 0
